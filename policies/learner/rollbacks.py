"""What going back means for a learner: which versions are undone, and states it can return to."""

from policies.learner.agent import SavedNetworks


class Undone:
    """The versions that were undone and did not come back since."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def go_back(self, version: int, undone: int) -> None:
        """Take down that `version` is live in the stead of `undone`. What is live again is not
        undone, nor is what was undone in the same stroke as it."""
        self._ranges = [(low, high) for low, high in self._ranges if not low < version <= high]
        if version < undone:
            self._ranges.append((version, undone))

    def __contains__(self, version: object) -> bool:
        """Say whether a version is undone; 0, the base alone, never is."""
        return isinstance(version, int) and any(
            max(0, low) < version <= high for low, high in self._ranges
        )


class KeptStates:
    """The learner's networks as they were at past candidates: of those 1, 2 to 3, 4 to 7, ...
    versions older than the newest one each, and the first. `saved`: by version, oldest first.
    """

    def __init__(self, saved: dict[int, SavedNetworks] | None = None) -> None:
        self.saved: dict[int, SavedNetworks] = saved or {}

    def keep(self, version: int, networks: SavedNetworks) -> None:
        """Keep the newest candidate's, and let go of some that are older."""
        self.saved[version] = networks
        oldest_by_age: dict[int, int] = {}
        for kept in self.saved:
            oldest_by_age.setdefault((version - kept).bit_length(), kept)
        wanted = set(oldest_by_age.values())
        self.saved = {kept: state for kept, state in self.saved.items() if kept in wanted}

    def go_back(self, version: int) -> tuple[int, SavedNetworks] | None:
        """Return the newest that is not newer than `version`, and its own version; None if there
        is none. Those that are newer are let go."""
        self.saved = {kept: state for kept, state in self.saved.items() if kept <= version}
        return next(reversed(self.saved.items()), None)
