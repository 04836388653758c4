"""The JSON Schema of the format, for editors: made from the models, so it accepts what the loader accepts.

It cannot tell a dangling name or a wrong combination over several steps; `lab check` does.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from lab.scenario.base import MODEL, AtLeastOne, AtMostOne, Excludes, Model, Needs, Rule
from lab.scenario.checks import CHECKS
from lab.scenario.model import ScenarioFile
from lab.scenario.steps import STEPS

ID = "scenario-v1.json"
_PARAMETER = {"$ref": "#/$defs/Parameter"}
_FIXED = ("do", "check", "lab", "params", "hosts", "steps", "checks")  #: where no parameter can stand

Schema = dict[str, Any]


def schema_text() -> str:
    """The schema as `schema/scenario-v1.json` holds it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a scenario file."""
    models = {cls.__name__: cls for cls in _subclasses(Model)}
    defs = _definitions([ScenarioFile, *STEPS.values(), *CHECKS.values()], models)
    top: Schema = defs.pop(ScenarioFile.__name__)
    for name, one in defs.items():
        _finish(one, models[name])
    _finish(top, ScenarioFile)
    top["patternProperties"] = {"^x-": True}
    top["properties"]["steps"]["items"] = {"$ref": "#/$defs/AnyStep"}
    top["properties"]["checks"]["items"] = {"$ref": "#/$defs/AnyCheck"}
    top["properties"]["hosts"]["additionalProperties"] = False
    defs["Parallel"]["properties"]["steps"]["items"] = {"$ref": "#/$defs/InnerStep"}
    defs["Repeat"]["properties"]["steps"]["items"] = {"$ref": "#/$defs/AnyStep"}
    inner = {name: cls for name, cls in STEPS.items() if name != "parallel"}
    defs |= {
        "AnyStep": _one_of("do", STEPS),
        "InnerStep": _one_of("do", inner),
        "AnyCheck": _one_of("check", CHECKS),
        "Parameter": {
            "type": "string",
            "pattern": r"\$\{[^}]*\}",
            "description": "a value with a parameter in it: ${delay}",
        },
    }
    _share_enums(defs)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        **top,
        "title": "lab scenario, version 1",
        "description": "One file says what happens on a network; the lab makes it happen and judges it.",
        "$defs": defs,
    }


def _definitions(parts: list[type[Model]], models: Mapping[str, type[Model]]) -> Schema:
    """The schemas of these models and of all that they refer to, by name."""
    while True:
        _, whole = models_json_schema([(cls, "validation") for cls in parts], by_alias=True)
        # What is no model has a schema of its own at each place; nothing refers to its definition.
        defs: Schema = {name: one for name, one in whole["$defs"].items() if name in models}
        missing = set(_referred(defs)) - set(defs)
        if not missing:
            return defs
        parts = [*parts, *(models[name] for name in sorted(missing))]


def _referred(node: Any) -> Iterator[str]:
    """The models that are built when they are met, each place made a reference."""
    if isinstance(node, dict):
        if MODEL in node:
            name = node.pop(MODEL)
            node["$ref"] = f"#/$defs/{name}"
            yield name
        node = list(node.values())
    for one in node if isinstance(node, list) else ():
        yield from _referred(one)


def _subclasses(cls: type[Model]) -> Iterable[type[Model]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def _finish(schema: Schema, cls: type[Model]) -> None:
    """One mapping: only the keys that make sense, no null but where it is a value, the rules between keys."""
    allowed = cls.yaml_keys()
    properties = {key: _clean(one) for key, one in schema["properties"].items() if key in allowed}
    for key, one in properties.items():
        if key not in _FIXED:
            properties[key] = _or_parameter(one)
    schema["properties"] = properties
    schema.pop("title", None)
    required = list(schema.get("required", ()))
    for key in ("do", "check"):
        if key in properties:
            properties[key] = {"const": properties[key]["const"]}
            required.insert(0, key)
    if required:
        schema["required"] = required
    if cls.rules:
        schema["allOf"] = [part for rule in cls.rules for part in _rule(rule)]


def _clean(schema: Any) -> Any:
    """Without titles, and without the null that stands for a key that is left out."""
    if isinstance(schema, list):
        return [_clean(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _clean(one) for key, one in schema.items() if key != "title"}
    if result.get("default", 0) is None:
        del result["default"]
    if "oneOf" in result:
        # A short form or a mapping: never both, and `anyOf` says so with shorter errors.
        result["anyOf"] = result.pop("oneOf")
    if "anyOf" in result:
        kept = [one for one in result["anyOf"] if one != {"type": "null"}]
        flat = [part for one in kept for part in (one["anyOf"] if set(one) == {"anyOf"} else [one])]
        result["anyOf"] = flat
        if len(flat) == 1:
            del result["anyOf"]
            result = {**flat[0], **result}
    return result


def _or_parameter(schema: Schema) -> Schema:
    """The schema, or a text with a parameter in it; inside lists and free mappings too."""
    schema = dict(schema)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _or_parameter(schema[key])
    if "anyOf" in schema:
        schema["anyOf"] = [_inside(one) for one in schema["anyOf"]]
    if schema.get("type") == "string" and not {"pattern", "enum", "const"} & schema.keys():
        return schema
    if set(schema) <= {"anyOf", "description", "default"} and "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], _PARAMETER]}
    notes: Schema = {key: schema.pop(key) for key in ("description", "default") if key in schema}
    return {"anyOf": [schema, _PARAMETER], **notes} if schema else notes


def _inside(schema: Schema) -> Schema:
    if isinstance(schema.get("items"), dict):
        return {**schema, "items": _or_parameter(schema["items"])}
    return schema


def _rule(rule: Rule) -> list[Schema]:
    if isinstance(rule, AtLeastOne):
        return [{"anyOf": [{"required": [key]} for key in rule.keys]}]
    if isinstance(rule, AtMostOne):
        return [{"not": {"required": list(pair)}} for pair in itertools.combinations(rule.keys, 2)]
    if isinstance(rule, Needs):
        return [{"if": {"required": [rule.key]}, "then": {"anyOf": [{"required": [k]} for k in rule.others]}}]
    assert isinstance(rule, Excludes)
    return [{"not": {"required": [rule.key, other]}} for other in rule.others]


def _one_of(key: str, table: Mapping[str, type[Model]]) -> Schema:
    """One of the classes by its `do` or `check`; with if and then, an editor's errors are about that one."""
    return {
        "type": "object",
        "required": [key],
        "properties": {key: {"enum": list(table)}},
        "allOf": [
            {
                "if": {"properties": {key: {"const": name}}, "required": [key]},
                "then": {"$ref": f"#/$defs/{cls.__name__}"},
            }
            for name, cls in table.items()
        ],
    }


def _share_enums(defs: Schema) -> None:
    """Long lists of words stand once, under `$defs`."""
    names: dict[tuple[str, ...], str] = {}

    def walk(schema: Any, name: str) -> None:
        if isinstance(schema, list):
            for one in schema:
                walk(one, name)
        elif isinstance(schema, dict):
            words = schema.get("enum")
            if isinstance(words, list) and len(words) > 12 and schema.get("type") == "string":
                shared = names.setdefault(tuple(words), f"Word_{name}")
                schema.clear()
                schema["$ref"] = f"#/$defs/{shared}"
            for key, one in schema.items():
                walk(one, name if key in ("anyOf", "items", "properties") else key)

    walk(defs, "")
    for found, name in names.items():
        defs[name] = {"type": "string", "enum": list(found)}
