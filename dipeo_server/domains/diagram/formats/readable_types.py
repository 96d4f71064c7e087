"""The type of a readable node that says none: told by its fields, else by the flow around it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

# Fields that tell a type; of several types that are told the first wins.
_TYPES_AND_FIELDS: Final = """
start: trigger_mode hook_event hook_filters custom_data output_data_structure
condition: condition_type expression node_indices judge_by judge_by_file
hook: hook_type subscribe_to command
integrated_api: provider resource_id
sub_diagram: diagram_name diagram_data diagram_format input_mapping output_mapping output_mode
sub_diagram: pass_input_data ignore_if_sub isolate_conversation use_standard_execution result_key
template_job: template_path template_content preprocessor output_path
json_schema_validator: json_schema schema schema_path data_path strict_mode error_on_extra
api_job: url method auth_type auth_config
ir_builder: builder_type
typescript_ast: extract_patterns include_raw_ast
diff_patch: diff target_path apply_mode
db: operation sub_type source_details serialize_json collection query lines
code_job: code language code_type function_name
person_job: person default_prompt first_only_prompt prompt_file first_prompt_file memorize_to
person_job: memory_profile ignore_person text_format text_format_file tools
endpoint: save_to_file file_name file_format file_path
db: file
barrier: default_action on_skip
delay: seconds
transform: rules
user_response: prompt default_answer
"""
TELLING_FIELDS: Final = tuple(
    (type_, frozenset(fields.split()))
    for type_, _, fields in (line.partition(": ") for line in _TYPES_AND_FIELDS.split("\n") if line)
)
# Fields of the canvas; they say nothing about what a node does.
CANVAS_FIELDS: Final = frozenset({"flipped"})

_SEAM: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def told_type(fields: Iterable[str], *, is_entered: bool, is_left: bool) -> str | None:
    """The type that these fields tell, in camelCase too; None if none can be told.

    A node without fields is a start if no flow enters it, an endpoint if flow enters it only.
    """
    names = {_SEAM.sub("_", field).lower() for field in fields} - CANVAS_FIELDS
    for type_, telling in TELLING_FIELDS:
        if names & telling:
            return type_
    if names or (is_entered and is_left):
        return None
    return "endpoint" if is_entered else "start"
