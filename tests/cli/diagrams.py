"""Small diagrams for the tests of the command line."""

from __future__ import annotations

from pathlib import Path

HELLO = """\
version: light
nodes:
- {label: start, type: start}
- {label: greet, type: code_job, code: 'result = "hello " + globals.get("name", "you")'}
- {label: end, type: endpoint}
connections:
- {from: start, to: greet}
- {from: greet, to: end}
"""

FAILING = """\
version: light
nodes:
- {label: start, type: start}
- {label: work, type: code_job, code: 'raise ValueError("no luck")'}
- {label: end, type: endpoint}
connections:
- {from: start, to: work}
- {from: work, to: end}
"""

INVALID = """\
version: light
nodes:
- {label: start, type: start}
- {label: work, type: cod_job, code: 'x = 1'}
connections:
- {from: start, to: wrok}
"""

APPROVAL = """\
version: light
nodes:
- {label: start, type: start}
- {label: gate, type: barrier, prompt: May it go on?, timeout: 3600}
- {label: go, type: endpoint}
- {label: halt, type: endpoint}
connections:
- {from: start, to: gate}
- {from: "gate[approved]", to: go, content_type: object}
- {from: "gate[rejected]", to: halt, content_type: object}
"""

QUESTIONS = """\
version: light
nodes:
- {label: start, type: start}
- {label: ask, type: user_response, prompt: And now?, timeout: 3600, max_iteration: 3}
- {label: enough, type: condition, condition_type: custom, expression: 'default == "stop"'}
- {label: end, type: endpoint}
connections:
- {from: start, to: ask}
- {from: ask, to: enough}
- {from: "enough[condfalse]", to: ask}
- {from: "enough[condtrue]", to: end}
"""

SLOW = """\
version: light
nodes:
- {label: start, type: start}
- {label: slow, type: code_job, language: bash, code: "echo begun; sleep 30", timeout: 40}
- {label: end, type: endpoint}
connections:
- {from: start, to: slow}
- {from: slow, to: end}
"""

STUBBORN = """\
version: light
nodes:
- {label: start, type: start}
- label: slow
  type: code_job
  language: bash
  code: trap '' TERM INT; echo begun; for i in $(seq 300); do sleep 0.1; done
  timeout: 40
- {label: end, type: endpoint}
connections:
- {from: start, to: slow}
- {from: slow, to: end}
"""

GREETING = """\
version: light
nodes:
- {label: start, type: start}
- {label: greet, type: template_job, template_content: "hello {{name}}", strict: true}
- {label: end, type: endpoint}
connections:
- {from: start, to: greet}
- {from: greet, to: end}
"""

TALKING = """\
version: light
persons:
  Ann: {service: echo, model: echo}
nodes:
- {label: start, type: start}
- {label: talk, type: person_job, person: Ann, default_prompt: Good morning}
- {label: end, type: endpoint}
connections:
- {from: start, to: talk}
- {from: talk, to: end}
"""

PARENT = """\
version: light
nodes:
- {label: start, type: start}
- {label: child, type: sub_diagram, diagram_name: child.light.yaml}
- {label: end, type: endpoint}
connections:
- {from: start, to: child}
- {from: child, to: end}
"""


def written(folder: Path, text: str, name: str = "it.light.yaml") -> Path:
    """The diagram in a file."""
    file = folder / name
    file.write_text(text)
    return file
