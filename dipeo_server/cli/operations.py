"""What the command line asks a server: the GraphQL documents, and the shapes of their answers."""

from __future__ import annotations

from typing import Final

# Fields of one name differ in type between events, hence the aliases.
EVENTS: Final = """
subscription Events($id: ID!, $after: Sequence) {
  executionEvents(executionId: $id, after: $after) {
    __typename
    ... on ExecutionEvent { sequence timestamp }
    ... on ExecutionStatusChanged { from to changeReason: reason }
    ... on NodeStarted { nodeKey visit: occurrence attempt }
    ... on NodeCompleted { nodeKey visit: occurrence attempt duration ports }
    ... on NodeFailed {
      nodeKey visit: occurrence attempt duration willRetry failure: error { code message }
    }
    ... on NodeInterrupted { nodeKey visit: occurrence attempt why: reason willRerun }
    ... on NodeSkipped { nodeKey why: reason }
    ... on NodeRetryScheduled { nodeKey visit: occurrence attempt dueAt }
    ... on NodeMaxIterationsReached { nodeKey visit: occurrence limit }
    ... on ObservedError { place: nodeKey failure: error { code message } }
    ... on BarrierWaiting { nodeKey visit: occurrence barrierId }
    ... on BarrierResolved { nodeKey visit: occurrence barrierId barrierStatus: status decidedBy }
    ... on ExecutionFailed { failure: error { code message } }
    ... on ExecutionAborted { changeReason: reason }
    ... on ResyncRequired { snapshot { lastSequence } }
  }
}
"""

_USER_ERROR: Final = "__typename code message hint field"
_PROBLEM: Final = "severity code message hint nodeKey edgeKey line column"

RUN: Final = f"""
mutation Run($input: RunDiagramInput!, $key: String) {{
  runDiagram(input: $input, idempotencyKey: $key) {{
    execution {{
      id
      revision {{ nodes {{ key label type }} problems {{ code }} }}
    }}
    errors {{ {_USER_ERROR} ... on DiagramInvalid {{ problems {{ {_PROBLEM} }} }} }}
  }}
}}
"""

PROBLEMS: Final = f"""
query Problems($content: String!, $format: DiagramFormat) {{
  validateDiagram(content: $content, format: $format) {{ problems {{ {_PROBLEM} }} }}
}}
"""

ABORT: Final = f"""
mutation Abort($id: ID!, $reason: String) {{
  abortExecution(id: $id, reason: $reason) {{ errors {{ {_USER_ERROR} }} }}
}}
"""

APPROVE: Final = f"""
mutation Approve($id: ID!, $answer: JSON, $comment: String) {{
  approveBarrier(id: $id, answer: $answer, comment: $comment) {{ errors {{ {_USER_ERROR} }} }}
}}
"""

REJECT: Final = f"""
mutation Reject($id: ID!, $reason: String!) {{
  rejectBarrier(id: $id, reason: $reason) {{ errors {{ {_USER_ERROR} }} }}
}}
"""

ACTIVE: Final = "query Active($id: ID!) { execution(id: $id) { isActive } }"

SURVEY: Final = """
query Survey($id: ID!) {
  execution(id: $id) {
    id
    status
    nodeStates(statuses: [RUNNING, WAITING]) { nodeKey status node { label type } }
    barriers(status: WAITING) { id nodeKey occurrence prompt answerSchema }
    children(first: 100) { nodes { id isActive } }
  }
}
"""

_TOKENS: Final = "tokenUsage { input output cached total }"
_ERROR: Final = "error { code message hint nodeKey isRetryable }"

RESULT: Final = f"""
query Result($id: ID!) {{
  execution(id: $id) {{
    id status startedAt endedAt duration lastSequence variables {_TOKENS} {_ERROR}
    nodeStates {{
      nodeKey status occurrence attempt startedAt endedAt duration skipReason {_TOKENS} {_ERROR}
      node {{ label type }}
      output {{ contentType body sizeBytes isTruncated meta }}
      runs {{ occurrence status startedAt }}
    }}
  }}
}}
"""
