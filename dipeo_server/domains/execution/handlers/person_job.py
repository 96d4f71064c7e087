"""Ask a person: a language model with a role and a memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import AliasChoices, Field

from dipeo_server.domains.diagram import AfterCrash, DomainNode
from dipeo_server.domains.execution import ContentType, ExecutionContext, TokenUsage
from dipeo_server.domains.execution.handlers import (
    NodeOutput,
    NodeProps,
    Ports,
    create_node_output,
    node_handler,
)
from dipeo_server.domains.execution.output import Message
from dipeo_server.domains.execution.person.asking import (
    Person,
    chat_each,
    find_person,
    request_to,
    sum_usages,
    system_prompt_of,
)
from dipeo_server.domains.execution.person.batch import batch_inputs, batch_items, batch_result
from dipeo_server.domains.execution.person.conversation import (
    chat_messages,
    conversation_state,
    unheard,
)
from dipeo_server.domains.execution.person.memory import SYSTEM
from dipeo_server.domains.execution.person.prompt_files import read_prompt_file
from dipeo_server.domains.execution.person.recall import Memory, MemoryWish, recall
from dipeo_server.domains.execution.person.text_format import (
    read_structured,
    schema_of_text_format,
)
from dipeo_server.domains.execution.ports import ChatReply, ChatRequest
from dipeo_server.domains.execution.prompts import observe_missing
from dipeo_server.domains.execution.templates import build_context, render
from dipeo_server.errors import NodeError

_PREVIEW_CHARACTERS: Final = 200


class PersonJobProps(NodeProps):
    """What a person is asked, what it remembers, and the form of its answer."""

    person: str | None = Field(None, description="Who is asked: key or label of a person.")
    first_only_prompt: str | None = Field(None, description="The prompt of the first run.")
    first_prompt_file: str | None = Field(None, description="A file with it; beats the text.")
    default_prompt: str | None = Field(None, description="The prompt of every other run.")
    prompt_file: str | None = Field(None, description="A file with it; beats the text.")
    max_iteration: int = Field(100, ge=1, description="How often it may run.")
    memorize_to: str | None = Field(
        None, description="A memory rule such as GOLDFISH, or plain words; empty = everything."
    )
    at_most: int | None = Field(None, ge=1, le=500, description="At most so many messages.")
    ignore_person: str | tuple[str, ...] | None = Field(
        None, description="Persons whose messages are not remembered; commas between them."
    )
    tools: Any = Field(None, description="none; image and websearch are not available.")
    text_format: str | dict[str, Any] | None = Field(
        None, description="The answer's form: pydantic models as text, or a JSON schema."
    )
    text_format_file: str | None = Field(None, description="A file with it; beats the text.")
    temperature: float | None = Field(None, ge=0, le=2, description="None = the model's own.")
    max_tokens: int | None = Field(None, ge=1, description="None = the model's own.")
    strict: bool = Field(default=False, description="A missing template key is an error.")
    batch: bool = Field(default=False, description="Ask once for each item of a list.")
    batch_input_key: str = Field(
        "items",
        validation_alias=AliasChoices("batch_input_key", "batchInputKey"),
        description="The input that holds the items.",
    )
    batch_parallel: bool = Field(default=True, description="Several items at once.")
    max_concurrent: int = Field(10, ge=1, le=100, description="So many at once.")


@node_handler(
    "person_job",
    props=PersonJobProps,
    ports=Ports(inputs=("first", "default")),
    category="ai",
    after_crash=AfterCrash.RERUN,
)
async def person_job(node: DomainNode[PersonJobProps], ctx: ExecutionContext) -> NodeOutput:
    """Put a prompt to a person's language model and give its answer.

    Text; a structured value with `text_format`; a conversation for edges that carry one; the
    results of all items in batch mode. Prompt and answer join the execution's conversation.
    """
    job = await _prepared(node.props, ctx)
    return await (_ask_each(job) if node.props.batch else _ask_once(job))


@dataclass(frozen=True, slots=True)
class _Job:
    """All that is known before a prompt is put together."""

    ctx: ExecutionContext
    props: PersonJobProps
    person: Person
    system_prompt: str | None
    template: str
    schema: dict[str, Any] | None
    wish: MemoryWish
    incoming: tuple[Message, ...]

    @property
    def conversation(self) -> tuple[Message, ...]:
        return (*self.ctx.conversation, *self.incoming)

    def prompt(self, inputs: Mapping[str, Any]) -> str:
        context = build_context(inputs, self.ctx.variables)
        rendered = render(self.template, context, strict=self.props.strict)
        observe_missing(self.ctx, rendered.missing)
        return rendered.text

    async def recall(self, task: str) -> Memory:
        return await recall(self.ctx, self.person, self.wish, self.conversation, task=task)

    def request(self, prompt: str, memory: Memory) -> ChatRequest:
        messages = chat_messages(
            self.system_prompt, memory.messages, prompt, person=self.person.key
        )
        return request_to(
            self.person,
            messages,
            temperature=self.props.temperature,
            max_tokens=self.props.max_tokens,
            json_schema=self.schema,
        )

    def value(self, reply: ChatReply) -> Any:
        return reply.text if self.schema is None else read_structured(reply.text, self.schema)

    def said(self, exchanges: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
        """What joins the conversation: what came in, then each prompt with its answer."""
        run, person = self.ctx.node_run, self.person.key
        messages = list(self.incoming)
        for prompt, answer in exchanges:
            for sender, recipient, content in (SYSTEM, person, prompt), (person, SYSTEM, answer):
                id_ = f"{run.node}#{run.occurrence}.{len(messages)}"
                messages.append(Message(id_, sender, recipient, content))
        return tuple(messages)

    def metadata(self, memory: Memory, usage: TokenUsage | None, model: str) -> dict[str, Any]:
        return {
            "model": model,
            "person_id": self.person.key,
            "llm_usage": None if usage is None else asdict(usage) | {"total": usage.total},
            "memory_selection": {
                "selected": len(memory.messages),
                "total": memory.total,
                "criteria": self.wish.criteria,
                "at_most": self.wish.at_most,
            },
        }


async def _prepared(props: PersonJobProps, ctx: ExecutionContext) -> _Job:
    person = find_person(ctx, props.person)
    _observe_tools(props.tools, ctx)
    run = ctx.node_run
    return _Job(
        ctx=ctx,
        props=props,
        person=person,
        system_prompt=await system_prompt_of(ctx, person),
        template=await _template(props, ctx),
        schema=await _schema(props, ctx),
        wish=MemoryWish(props.memorize_to, props.at_most, _ignored(props.ignore_person, ctx)),
        incoming=unheard(
            ctx.inputs,
            ctx.conversation,
            person=person.key,
            prefix=f"{run.node}#{run.occurrence}.",
        ),
    )


async def _template(props: PersonJobProps, ctx: ExecutionContext) -> str:
    sources = [(props.prompt_file, props.default_prompt)]
    if ctx.executed(ctx.node_run.node) == 0:
        sources.insert(0, (props.first_prompt_file, props.first_only_prompt))
    for file, text in sources:
        if file:
            return await read_prompt_file(ctx.files, file, diagram_path=ctx.diagram.path)
        if text:
            return text
    return ""


async def _schema(props: PersonJobProps, ctx: ExecutionContext) -> dict[str, Any] | None:
    text_format: str | dict[str, Any] | None = props.text_format
    if props.text_format_file:
        text_format = await read_prompt_file(
            ctx.files,
            props.text_format_file,
            diagram_path=ctx.diagram.path,
            what="text_format file",
        )
    return schema_of_text_format(text_format) if text_format else None


def _ignored(written: str | tuple[str, ...] | None, ctx: ExecutionContext) -> frozenset[str]:
    names = written.split(",") if isinstance(written, str) else written or ()
    keys = set()
    for name in (name.strip() for name in names):
        person = ctx.diagram.person(name)
        keys.add(person.key if person else name)
    return frozenset(keys)


def _observe_tools(tools: Any, ctx: ExecutionContext) -> None:
    """Tools are `none`, a name, or a list of names and maps {type, enabled}."""
    wanted = []
    for tool in tools if isinstance(tools, list | tuple) else [tools]:
        is_map = isinstance(tool, Mapping)
        name = tool.get("type") if is_map else tool
        if name not in (None, "", "none") and not (is_map and tool.get("enabled") is False):
            wanted.append(str(name))
    if wanted:
        names = ", ".join(wanted)
        message = f"{ctx.node.key!r} wants tools ({names}); the model is asked without them."
        ctx.observe("TOOLS_UNAVAILABLE", message)


# --- one prompt


async def _ask_once(job: _Job) -> NodeOutput:
    ctx = job.ctx
    prompt = job.prompt(ctx.inputs)
    if not prompt.strip():
        ctx.observe(
            "PROMPT_EMPTY", f"{ctx.node.key!r} has no prompt for this run: nobody is asked."
        )
        return create_node_output(
            {"default": ""}, {"person_id": job.person.key}, messages=job.incoming
        )
    memory = await job.recall(prompt)
    reply = await ctx.services.models.chat(
        job.request(prompt, memory), lambda token: ctx.log("tokens", token)
    )
    value = job.value(reply)
    usage = sum_usages([*memory.usages, reply.usage])
    messages = job.said([(prompt, reply.text)])
    content_type = None
    if _carries_conversation(ctx):
        content_type = ContentType.CONVERSATION_STATE
        seen = (*memory.messages, *messages[-2:])
        value = conversation_state(seen, person=job.person.key, model=reply.model)
    preview = {"preview": reply.text[:_PREVIEW_CHARACTERS]}
    return create_node_output(
        {"default": value},
        job.metadata(memory, usage, reply.model) | preview,
        content_type=content_type,
        token_usage=usage,
        messages=messages,
    )


def _carries_conversation(ctx: ExecutionContext) -> bool:
    edges = (ctx.diagram.edges[index] for index in ctx.node.outgoing)
    return any(edge.content_type == ContentType.CONVERSATION_STATE for edge in edges)


# --- one prompt for each item


async def _ask_each(job: _Job) -> NodeOutput:
    """Ask for every item; failures are listed with their items, unless there is nothing else."""
    ctx, props = job.ctx, job.props
    items = batch_items(ctx.inputs, props.batch_input_key)
    memory = await job.recall(job.template) if items else Memory((), len(job.conversation))
    outcomes: list[Any] = [_item_prompt(job, items, index) for index in range(len(items))]
    prompts = {n: prompt for n, prompt in enumerate(outcomes) if isinstance(prompt, str)}
    replies = await chat_each(
        ctx.services.models,
        [job.request(prompt, memory) for prompt in prompts.values()],
        limit=props.max_concurrent if props.batch_parallel else 1,
    )
    for index, reply in zip(prompts, replies, strict=True):
        outcomes[index] = _item_outcome(job, reply)
    failures = [outcome for outcome in outcomes if isinstance(outcome, NodeError)]
    if failures and len(failures) == len(items):
        raise failures[0]
    for failure in failures:
        ctx.observe(failure.code, failure.message, hint=failure.hint)
    answered = {
        n: reply for n, reply in zip(prompts, replies, strict=True) if isinstance(reply, ChatReply)
    }
    usages = [reply.usage for reply in answered.values()]
    usage = sum_usages([*memory.usages, *usages])
    return create_node_output(
        {"default": batch_result(items, outcomes)},
        job.metadata(memory, usage, job.person.model),
        token_usage=usage,
        messages=job.said([(prompts[n], reply.text) for n, reply in answered.items()]),
    )


def _item_prompt(job: _Job, items: Sequence[Any], index: int) -> str | NodeError:
    inputs = batch_inputs(job.ctx.inputs, items, index, key=job.props.batch_input_key)
    try:
        return job.prompt(inputs)
    except NodeError as error:
        return error


def _item_outcome(job: _Job, reply: ChatReply | NodeError) -> dict[str, Any] | NodeError:
    if isinstance(reply, NodeError):
        return reply
    try:
        value = job.value(reply)
    except NodeError as error:
        return error
    usage = reply.usage
    metadata = {"model": reply.model, "llm_usage": None if usage is None else asdict(usage)}
    return {"output": value, "metadata": metadata}
