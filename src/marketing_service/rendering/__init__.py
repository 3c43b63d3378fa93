"""Rendering of messages: Liquid templates, and the compiled message that is rendered for each recipient."""

from marketing_service.rendering.budget import MAX_NODES, MAX_OCTETS, NotRenderable, TemplateTooCostly
from marketing_service.rendering.characters import character_problem, without_byte_order_mark
from marketing_service.rendering.footer import NO_POSTAL_ADDRESSES, PostalAddresses
from marketing_service.rendering.headers import a_label, ascii_address, ascii_domain, header_text_problem
from marketing_service.rendering.language import TemplateError
from marketing_service.rendering.links import MAX_LINKS, link_target, shown_link
from marketing_service.rendering.lint import (
    Finding,
    RenderCheck,
    RenderProblem,
    Severity,
    lint,
    merge_tag_findings,
    missing_postal_address,
)
from marketing_service.rendering.message import (
    CompiledMessage,
    MessageSource,
    Preview,
    RecipientData,
    compile_message,
    one_click_possible,
)
from marketing_service.rendering.placeholders import BODY_PLACEHOLDERS, PLACEHOLDERS
from marketing_service.rendering.size import TOKEN_LENGTH, LargestMessage, larger_body, message_octets, size_problem
from marketing_service.rendering.template import SAMPLE, MergeFields, validate_template
from marketing_service.rendering.web_urls import public_url, web_url

__all__ = [
    "BODY_PLACEHOLDERS",
    "MAX_LINKS",
    "MAX_NODES",
    "MAX_OCTETS",
    "NO_POSTAL_ADDRESSES",
    "PLACEHOLDERS",
    "SAMPLE",
    "TOKEN_LENGTH",
    "CompiledMessage",
    "Finding",
    "LargestMessage",
    "MergeFields",
    "MessageSource",
    "NotRenderable",
    "PostalAddresses",
    "Preview",
    "RecipientData",
    "RenderCheck",
    "RenderProblem",
    "Severity",
    "TemplateError",
    "TemplateTooCostly",
    "a_label",
    "ascii_address",
    "ascii_domain",
    "character_problem",
    "compile_message",
    "header_text_problem",
    "larger_body",
    "link_target",
    "lint",
    "merge_tag_findings",
    "message_octets",
    "missing_postal_address",
    "one_click_possible",
    "public_url",
    "shown_link",
    "size_problem",
    "validate_template",
    "web_url",
    "without_byte_order_mark",
]
