#!/usr/bin/env python3
"""Approve the second round of a run before it is reached, and reject the third.

Plain GraphQL over HTTP, with nothing but Python's standard library:

    dipeo-server serve --auth none                # in one terminal
    python examples/approve_ahead.py              # in another; --url names another server

What a person would do at a keyboard is done by a program here, so it does what such a program
should: every change has an idempotency key, under which it is done once however often it is sent.
"""

import argparse
import json
import os
import sys
import time
import urllib.request
import uuid
from pathlib import Path

DIAGRAM = Path(__file__).with_name("rounds.light.yaml")
SECONDS_MAX = 30
POLL_SECONDS = 0.1

RUN = """mutation($input: RunDiagramInput!, $key: String!) {
  runDiagram(input: $input, idempotencyKey: $key) { execution { id } errors { message } } }"""
AHEAD = """mutation($target: BarrierTarget!, $key: String!) {
  decideBarrier(target: $target, action: APPROVE, reason: "known to be good",
                expiresIn: "PT1H", idempotencyKey: $key) {
    earlyDecision { id nodeKey occurrence expiresAt } errors { message } } }"""
APPROVE = """mutation($id: ID!, $key: String!) {
  approveBarrier(id: $id, comment: "read it", idempotencyKey: $key) { errors { message } } }"""
REJECT = """mutation($id: ID!, $key: String!) {
  rejectBarrier(id: $id, reason: "two are enough", idempotencyKey: $key) { errors { message } } }"""
STATE = """query($id: ID!) { execution(id: $id) {
  status isActive nodeStates(statuses: [COMPLETED]) { nodeKey occurrence }
  barriers { id nodeKey occurrence status prompt decidedBy reason } } }"""


def ask(url: str, query: str, **variables: object) -> dict:
    """The `data` of one request; ends the program where the server refuses."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    headers = {"content-type": "application/json"}
    if "DIPEO_TOKEN" in os.environ:  # A server that asks who you are.
        headers["authorization"] = f"Bearer {os.environ['DIPEO_TOKEN']}"
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - a URL the user gave
    with urllib.request.urlopen(request) as response:  # noqa: S310 - as above
        answer = json.load(response)
    if "errors" in answer:
        raise SystemExit(f"refused: {answer['errors'][0]['message']}")
    return answer["data"]


def change(url: str, mutation: str, **variables: object) -> dict:
    """The payload of a mutation under a key of its own; ends the program where it is refused."""
    key = uuid.uuid4().hex
    (payload,) = ask(url, mutation, key=key, **variables).values()
    if payload["errors"]:
        raise SystemExit(f"refused: {payload['errors'][0]['message']}")
    return payload


def waiting(url: str, execution_id: str, occurrence: int) -> dict:
    """The barrier of that visit, as soon as it waits."""
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        execution = ask(url, STATE, id=execution_id)["execution"]
        for barrier in execution["barriers"]:
            if barrier["occurrence"] == occurrence and barrier["status"] == "WAITING":
                return barrier
        if not execution["isActive"]:
            break
        time.sleep(POLL_SECONDS)
    raise SystemExit(f"nobody was asked at visit {occurrence}")


def ended(url: str, execution_id: str) -> dict:
    """The run, as soon as it has ended."""
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        execution = ask(url, STATE, id=execution_id)["execution"]
        if not execution["isActive"]:
            return execution
        time.sleep(POLL_SECONDS)
    raise SystemExit("the run did not end")


def main() -> None:
    """Run the three rounds, and print how each was decided."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--url", default=os.environ.get("DIPEO_URL", "http://127.0.0.1:8000/graphql")
    )
    url = parser.parse_args().url

    inline = {"name": DIAGRAM.name, "content": DIAGRAM.read_text(), "format": "LIGHT"}
    execution_id = change(url, RUN, input={"source": {"inline": inline}})["execution"]["id"]

    # Nobody has been asked a second time yet, and nobody will be.
    second = {"executionId": execution_id, "nodeKey": "review", "occurrence": 2}
    early = change(url, AHEAD, target={"node": second})["earlyDecision"]
    assert early["occurrence"] == 2, early

    change(url, APPROVE, id=waiting(url, execution_id, 1)["id"])
    third = waiting(url, execution_id, 3)
    change(url, REJECT, id=third["id"])

    execution = ended(url, execution_id)
    for barrier in execution["barriers"]:
        told = f"round {barrier['occurrence']}: {barrier['status']}, {barrier['reason']}"
        sys.stdout.write(f"{told}  ({barrier['prompt']})\n")
    ran = {state["nodeKey"] for state in execution["nodeStates"]}
    end = "dropped" if "dropped" in ran else "published"
    sys.stdout.write(f"{execution['status']} at {end}: {execution_id}\n")


if __name__ == "__main__":
    main()
