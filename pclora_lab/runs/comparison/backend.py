"""Who runs the workers of a comparison: loky on this machine, or a cluster's engine."""

import importlib.util
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from joblib.parallel import BACKENDS

__all__ = ["DASK", "LOKY", "RAY", "Backend"]

LOKY, RAY, DASK = "loky", "ray", "dask"
# The module that is imported, and the extra of this package that brings it.
_ENGINES = {RAY: ("ray", "cluster"), DASK: ("distributed", "dask")}
_ADDRESSES = {RAY: "auto, HOST:PORT or ray://HOST:PORT", DASK: "tcp://HOST:PORT or HOST:PORT"}
# joblib's own ones of a single process, and one that copies a process with torch's threads in it.
_UNFIT = ("sequential", "threading", "multiprocessing")
_SECONDS_TO_ANSWER = 10.0


@dataclass(frozen=True)
class Backend:
    """An engine, where it is, and what its workers are started with.

    Attributes:
        name: ``loky``, ``ray``, ``dask``, or one that is registered with joblib.
        address: of a cluster that runs; None starts workers on this machine.
        environment: variables of every worker.
    """

    name: str = LOKY
    address: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, address: str | None, environment: Mapping[str, str] | None) -> "Backend":
        """What was asked for, if it is installed and could be right.

        Args:
            name: of the engine.
            address: of its cluster; of ray, None also takes ``RAY_ADDRESS`` or a session that this
                process has.
            environment: variables of every worker.

        Raises:
            ValueError: no such backend, an address where there can be none or that is no address,
                or variables that are no texts.
            ImportError: it is not installed.
        """
        environment = dict(environment or {})
        _check_name(name)
        _check_environment(environment)
        if name == RAY and not address:
            address = os.environ.get("RAY_ADDRESS") or ("auto" if _has_ray_session() else None)
        if address is not None:
            _check_address(name, address)
        return cls(name, address, environment)

    @property
    def is_elsewhere(self) -> bool:
        """Whether somebody else has started its workers, so that their number is not known here."""
        return self.address is not None or self.name not in (LOKY, *_ENGINES)

    def require_answer(self) -> None:
        """Refuse an address at which nobody listens, before an engine waits for it.

        Raises:
            ConnectionError: nobody does.
        """
        if self.address is None or self.address == "auto":
            return
        host, _, port = self.address.rpartition("//")[2].rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
        except OSError as error:
            raise self.no_answer(error.strerror or str(error)) from error

    def no_answer(self, reason: str) -> ConnectionError:
        """An error that says so."""
        return ConnectionError(
            f"no {self.name} answers at {self.address} ({reason}): start it there, or check the "
            "address, the firewall between, and the token"
        )


def _check_name(name: str) -> None:
    known = [LOKY, *_ENGINES, *(n for n in BACKENDS if n not in (*_UNFIT, LOKY, *_ENGINES))]
    if name in _UNFIT or name not in known:
        raise ValueError(
            f"backend is {name!r}: use one of {', '.join(known)}, or register yours with "
            "joblib.register_parallel_backend"
        )
    module, extra = _ENGINES.get(name, ("joblib", ""))
    if importlib.util.find_spec(module) is None:
        raise ImportError(
            f"the backend {name} needs {module}, which is not installed: "
            f"pip install 'pclora-lab[{extra}]'"
        )


def _check_environment(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if not (isinstance(name, str) and isinstance(value, str)) or not name or "=" in name:
            raise ValueError(
                f"environment holds {name!r}: {value!r}, but names and values of environment "
                "variables are texts, and a name has no ="
            )


def _check_address(name: str, address: str) -> None:
    if name not in _ADDRESSES:
        raise ValueError(f"address is {address!r}, but {name} has none: leave it out")
    host, _, port = address.rpartition("//")[2].rpartition(":")
    is_whole = bool(host) and port.isdecimal() and 0 < int(port) < 2**16
    if not is_whole and not (name == RAY and address == "auto"):
        raise ValueError(f"address is {address!r}: of {name} it is {_ADDRESSES[name]}")


def _has_ray_session() -> bool:
    ray = sys.modules.get("ray")
    return bool(ray and ray.is_initialized())
