"""Wrong variants of the execution rule: changed copies of the machine's modules."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from dipeo_server.domains.execution.machine import evolve, node_events, turns
from tests.reference.lockstep import Rules


@dataclass(frozen=True)
class Mutant:
    """What is wrong with the rule, and the lines of `turns.py` that make it so."""

    name: str
    right: str
    wrong: str


MUTANTS = (
    Mutant(
        "a value from before the loop is dropped",
        "    for edge in awaited:\n        state.tokens[edge.index] = None",
        "    for number in node.incoming:\n        state.tokens[number] = None",
    ),
    Mutant(
        "a dead edge counts as live",
        "    if token.is_live:\n        turn.live += 1",
        "    if token is not None:\n        turn.live += 1",
    ),
    Mutant(
        "a turn is not reset",
        "    turn.live = turn.live_guards = turn.failed = 0\n",
        "",
    ),
    Mutant(
        "a join that has fired fires again",
        "if state.turns[edge.target].phase is Turn.OPEN:",
        "if state.turns[edge.target].phase is not Turn.SETTLED:",
    ),
    Mutant(
        "a data edge keeps a branch alive that was not taken",
        "(turn.live_guards or not turn.has_guards or is_later_header(state, node))",
        "node",
    ),
    Mutant(
        "an exit is not withheld",
        "        if edge.exit_of is None:",
        "        if edge.index >= 0:",
    ),
    Mutant(
        "a loop goes on only if all its back edges are live",
        "if any(token.is_live for token in arrived.values()):",
        "if all(token.is_live for token in arrived.values()):",
    ),
    Mutant(
        "a loop inside does not start afresh",
        "            state.blocks[child].turn = 1\n",
        "",
    ),
    Mutant(
        "a loop goes on although nothing was executed in it",
        "if state.blocks[index].has_executed:",
        "if state.blocks[index].turn < 50:",
    ),
    Mutant(
        "a first turn sees the back edges of an earlier one",
        "            if state.diagram.edges[number].back_of is not None:\n"
        "                state.tokens[number] = None",
        "            pass",
    ),
    Mutant(
        "a loop is settled before its nodes are",
        "turn.missing or _is_busy(state, node.index)",
        "_is_busy(state, node.index)",
    ),
    Mutant(
        "a node is decided on before all tokens of a moment are in",
        "            self.reached[edge.target] = None",
        "            decide_readiness(state, state.diagram.nodes[edge.target])",
    ),
)


def rules_of(mutant: Mutant, folder: Path) -> Rules:
    """The machine with that mistake in it. Raises LookupError if the line is not there once."""
    wrong_turns = _copy(turns, folder, mutant.right, mutant.wrong)
    wrong_nodes = _copy(node_events, folder)
    wrong_evolve = _copy(evolve, folder)
    vars(wrong_nodes)["turns"] = wrong_turns
    vars(wrong_evolve).update(turns=wrong_turns, node_events=wrong_nodes)
    return Rules(wrong_evolve.begin, wrong_evolve.evolve)


def unchanged_rules(folder: Path) -> Rules:
    """The machine copied in the same way, without a mistake."""
    return rules_of(Mutant("none", '"""How tokens move', '"""How tokens move'), folder)


def _copy(module: ModuleType, folder: Path, right: str = "", wrong: str = "") -> ModuleType:
    """The module's changed source as a module of its own, which nobody imports."""
    source = Path(str(module.__file__)).read_text()
    if right and source.count(right) != 1:
        raise LookupError(f"{module.__name__} has {source.count(right)} times: {right}")
    path = folder / f"{module.__name__.rpartition('.')[2]}.py"
    path.write_text(source.replace(right, wrong) if right else source)
    spec = importlib.util.spec_from_file_location(f"mutant_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise LookupError(f"{path} is no module")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
