"""Finds what a config names as `module:function`: code of the people whose robot it is."""

import importlib
import sys
from pathlib import Path

from runtime.errors import ConfigError
from runtime.interfaces import LinkFactory


def link_factory(name: str, config_file: Path) -> LinkFactory:
    """Return the function that `name` (`module:function`) stands for.

    The module is looked for where Python looks, and last in the folder of the config, so that a
    robot of one's own needs no installation and no particular working directory.

    Raises:
        ConfigError: there is no such module or function, or the module cannot be imported.
    """
    folder = str(config_file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    module_name, function = name.split(":")
    try:
        factory: LinkFactory = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"link: {name!r} cannot be found ({error}); write module:function of a LinkFactory, "
            f"the module installed or in {folder}"
        ) from None
    return factory
