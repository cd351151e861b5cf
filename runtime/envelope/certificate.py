"""The certificate without which no link accepts a command."""

from typing import Final, final

from runtime.messages import Command


@final
class _Seal:
    """What only this package hands to `Certificate`."""


ENVELOPE_SEAL: Final = _Seal()


@final
class Certificate:
    """A command that the envelope admitted in this tick, or kept as a stop step from the last.

    Python cannot keep a secret from code in the same process: whoever imports the seal can forge
    a certificate. An architecture test therefore checks that no file outside runtime/envelope/
    names the seal or calls this constructor; a link checks `isinstance(x, Certificate)`.
    """

    __slots__ = ("_command",)

    def __init__(self, command: Command, seal: _Seal) -> None:
        """Wrap `command`.

        Raises:
            TypeError: `seal` is not the envelope's.
        """
        if seal is not ENVELOPE_SEAL:
            raise TypeError(
                f"a Certificate was asked for with {seal!r}; only Envelope.certify and "
                "Envelope.emergency make certificates: pass the command through the envelope"
            )
        self._command = command

    @property
    def command(self) -> Command:
        """The certified command; nobody may write into it."""
        return self._command
