"""The diagrams of a mixed load."""

from __future__ import annotations

LARGE_FILES = 80

LOOP = """version: light
nodes:
- {label: start, type: start}
- {label: h, type: transform}
- {label: c, type: condition, expression: "i >= 20", expose_index_as: i, max_iteration: 100}
- {label: end, type: endpoint}
connections:
- {from: start, to: h}
- {from: h, to: c}
- {from: "c[condfalse]", to: h}
- {from: "c[condtrue]", to: end}
"""
SLOW_LOOP = """version: light
nodes:
- {label: start, type: start}
- {label: h, type: transform, max_iteration: 500}
- {label: pause, type: delay, seconds: 0.01, max_iteration: 500}
- {label: c, type: condition, expression: "i >= 60", expose_index_as: i, max_iteration: 500}
- {label: end, type: endpoint}
connections:
- {from: start, to: h}
- {from: h, to: pause}
- {from: pause, to: c}
- {from: "c[condfalse]", to: h}
- {from: "c[condtrue]", to: end}
"""
SLOW = """version: light
nodes:
- {label: start, type: start}
- {label: job, type: code_job, language: bash, code: "echo begins; sleep 60"}
- {label: end, type: endpoint}
connections:
- {from: start, to: job}
- {from: job, to: end}
"""
BROKEN = """version: light
nodes:
- {label: start, type: start, trigger_mode: manual, custom_data: {x: 1}}
- label: judge
  type: json_schema_validator
  json_schema: {type: object, required: [y]}
  retry: {attempts: 2, backoff: constant, initial_seconds: 0.05, retry_on: [SCHEMA_MISMATCH]}
- {label: end, type: endpoint}
connections:
- {from: start, to: judge, content_type: object}
- {from: judge, to: end}
"""
CODE = """version: light
nodes:
- {label: start, type: start}
- label: job
  type: code_job
  code: |
    for number in range(n):
        print("line", number)
    result = {"n": n, "text": "x" * 2000}
- {label: end, type: endpoint}
connections:
- {from: start, to: job, content_type: object}
- {from: job, to: end, content_type: object}
"""
LARGE = """version: light
nodes:
- {label: start, type: start}
- {label: file, type: db, operation: read, file: "large-{n}.txt"}
- {label: on, type: transform}
- {label: end, type: endpoint}
connections:
- {from: start, to: file}
- {from: file, to: on}
- {from: on, to: end}
"""
BATCH = """version: light
nodes:
- {label: start, type: start}
- label: each
  type: sub_diagram
  batch: true
  diagram_format: light
  diagram_data: |
    version: light
    nodes:
    - {label: start, type: start}
    - {label: pause, type: delay, seconds: 0.02}
    - {label: end, type: endpoint}
    connections:
    - {from: start, to: pause}
    - {from: pause, to: end}
- {label: end, type: endpoint}
connections:
- {from: start, to: each, content_type: object}
- {from: each, to: end, content_type: object}
"""
AGENTS = """version: light
persons:
  one: {service: echo, model: echo, system_prompt: You say what you hear.}
nodes:
- {label: start, type: start, trigger_mode: manual, custom_data: {topic: water}}
- label: talk
  type: person_job
  person: one
  first_only_prompt: "Talk about {{topic}}"
  default_prompt: Go on.
  max_iteration: 4
- {label: c, type: condition, condition_type: detect_max_iterations}
- {label: end, type: endpoint}
connections:
- {from: start, to: "talk[first]", content_type: object}
- {from: talk, to: c, content_type: conversation_state}
- {from: "c[condfalse]", to: talk, content_type: conversation_state}
- {from: "c[condtrue]", to: end, content_type: conversation_state}
"""
APPROVAL = """version: light
nodes:
- {label: start, type: start}
- {label: gate, type: barrier, prompt: May it go on?, timeout: 24, default_action: approve}
- {label: end, type: endpoint}
connections:
- {from: start, to: gate}
- {from: "gate[approved]", to: end, content_type: object}
"""
WAITS = """version: light
nodes:
- {label: start, type: start}
- {label: gate, type: barrier, prompt: May it go on?}
- {label: end, type: endpoint}
connections:
- {from: start, to: gate}
- {from: "gate[approved]", to: end, content_type: object}
"""
