"""Every error this library raises on purpose."""


class AppleSegError(Exception):
    """Base of all errors raised by apple_seg."""


class AdapterNotFoundError(AppleSegError, LookupError):
    """No installed adapter knows the host's family."""


class SiteError(AppleSegError, ValueError):
    """A site does not name a latent that this host computes and reads."""


class HostError(AppleSegError, RuntimeError):
    """A host cannot be hooked or run as it is (scripted, wrapped already, detached, failing)."""


class CheckpointError(AppleSegError, ValueError):
    """A checkpoint cannot be read, or does not hold the weights of this host."""


class HostMismatchError(AppleSegError, ValueError):
    """A perturber file belongs to another host, or to another use of it."""


class ArtifactError(AppleSegError, ValueError):
    """A perturber file is damaged, or is none."""


class ManifestError(AppleSegError, ValueError):
    """The faults of a manifest, all of them, with their rows."""


class CaseError(AppleSegError, ValueError):
    """A case cannot be read, or holds what no case may hold."""


class GroupError(AppleSegError, ValueError):
    """Groups are declared that these cases cannot fill."""


class ConfigError(AppleSegError, ValueError):
    """An experiment file says something that cannot be done."""


class FitError(AppleSegError, RuntimeError):
    """A fit cannot start, or would train nothing."""


class ProcessError(AppleSegError, RuntimeError):
    """Another process of this run has ended."""


class ReplayError(AppleSegError, RuntimeError):
    """A host's encoder cannot be replayed: nothing of it can, or not faithfully."""


class StoreError(AppleSegError, RuntimeError):
    """A store of records cannot be written, read, or trusted."""


class MissingExtraError(AppleSegError, ImportError):
    """An optional dependency of this room is not installed."""
