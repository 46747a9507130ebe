"""What users may choose per dub of one model: declared by its package, read without its network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from dubcli.core.errors import ConfigError
from dubcli.models.architecture import load_part
from dubcli.models.registry import find_architecture, model_names

_KEY = "option"


@dataclass(frozen=True, kw_only=True)
class OptionRange:
    """What a field of a model's options says of itself.

    Attributes:
        help: What it is for, as users read it.
        least: Smallest number that it takes; None for any.
        most: Largest number that it takes; None for any.
        is_subject: It names a video of the person, which is analysed as the model's second subject.
    """

    help: str
    least: float | None = None
    most: float | None = None
    is_subject: bool = False


@dataclass(frozen=True, kw_only=True)
class DeclaredOption:
    """One option of one model.

    Attributes:
        model: Architecture.
        name: Of the field; on the command line with dashes.
        annotation: Its type, without None.
        default: What it is unless somebody says otherwise.
        range: Help and limits.
    """

    model: str
    name: str
    annotation: type
    default: Any
    range: OptionRange

    @property
    def flag(self) -> str:
        """As it is written on the command line."""
        return f"--{self.name.replace('_', '-')}"


def model_option(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    is_subject: bool = False,
) -> Any:
    """A field of a model's options; see `OptionRange`."""
    about = OptionRange(help=help, least=least, most=most, is_subject=is_subject)
    return field(default=default, metadata={_KEY: about})


def declared_options(models: Iterable[str] | None = None) -> list[DeclaredOption]:
    """The options of some models, all by default, in the order of the registry."""
    found: list[DeclaredOption] = []
    for model in model_names() if models is None else models:
        place = find_architecture(model).options
        if place is None:
            continue
        kind = load_part(place)
        hints = get_type_hints(kind)
        for entry in fields(kind):
            if entry.default is MISSING:
                raise TypeError(f"option '{entry.name}' of '{model}' has no default")
            found.append(
                DeclaredOption(
                    model=model,
                    name=entry.name,
                    annotation=_without_none(hints[entry.name]),
                    default=entry.default,
                    range=entry.metadata[_KEY],
                )
            )
    return found


def options_for(
    model: str, given: Mapping[str, Any], alone: Sequence[str] = (), flag: str = ""
) -> Any:
    """The options of one model, of which some are given; None where it declares none.

    Args:
        model: Architecture.
        given: Values by name; those of other models are passed over.
        alone: `NAME=VALUE` for this model and no other; they win over `given`.
        flag: The option of the command that gave `alone`.

    Raises:
        ConfigError: A value of another type, or outside its limits; a name in `alone` that the
            model does not declare.
    """
    place = find_architecture(model).options
    own = {one.name: one for one in declared_options([model])}
    values = {name: _checked(own[name], value) for name, value in given.items() if name in own}
    for word in alone:
        name, mark, text = word.partition("=")
        option = own.get(name.strip().replace("-", "_"))
        text = text.strip()
        if option is None or not mark:
            known = ", ".join(f"{one.name.replace('_', '-')}=VALUE" for one in own.values())
            raise ConfigError(
                f"{flag} '{word}' sets no option of {model}.",
                f"Use {known}." if known else "Leave it out: this model has no options.",
            )
        values[option.name] = _checked(option, _from_text(option, text), f"{flag} {name.strip()}")
    return None if place is None else load_part(place)(**values)


def refuse_foreign_options(given: Mapping[str, Any], models: Iterable[str]) -> None:
    """Refuse options that none of the models in use has.

    Raises:
        ConfigError: There is one.
    """
    used = list(dict.fromkeys(models))
    known = {one.name for one in declared_options(used)}
    for name in given:
        if name in known:
            continue
        owners = [one.model for one in declared_options() if one.name == name]
        flag = f"--{name.replace('_', '-')}"
        if not owners:
            raise ConfigError(f"Unknown option '{flag}'.", "See dub --help.")
        raise ConfigError(
            f"'{flag}' is an option of {' and '.join(owners)}, not of {' and '.join(used)}.",
            "Leave it out, or choose that model with --model.",
        )


def second_subject(model: str, options: Any) -> Path | None:
    """The video that the options name as the model's second subject."""
    for one in declared_options([model]):
        if one.range.is_subject and getattr(options, one.name) is not None:
            return Path(getattr(options, one.name))
    return None


def _without_none(hint: Any) -> type:
    kinds = [kind for kind in getattr(hint, "__args__", (hint,)) if kind is not type(None)]
    return kinds[0]


def _from_text(option: DeclaredOption, text: str) -> Any:
    """What a word means as a value of an option; the word itself where it means none."""
    if option.annotation is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if option.annotation in (int, float):
        try:
            return option.annotation(text)
        except ValueError:
            return text
    return text


def _checked(option: DeclaredOption, value: Any, flag: str | None = None) -> Any:
    kind, limits = option.annotation, option.range
    flag = flag or option.flag
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is Path and isinstance(value, str):
        value = Path(value)
    if value is not None and not isinstance(value, kind):
        raise ConfigError(f"{flag} is {value!r}.", f"Use a value of type {kind.__name__}.")
    if value is not None and limits.least is not None and not value >= limits.least:
        raise ConfigError(f"{flag} is {value}.", f"Use {limits.least:g} or more.")
    if value is not None and limits.most is not None and not value <= limits.most:
        raise ConfigError(f"{flag} is {value}.", f"Use {limits.most:g} or less.")
    return value
