"""Azure's deployments: the name that a call is made by says nothing of the model that answers it.

Rule 1: what is priced is the model, never the deployment: the settings say which is which.
Rule 2: a dated API version has a path for each deployment; without one the model's place in the body has
the deployment's name.
Rule 3: a name is a model's before it is a deployment's, but in a path of Azure's own, where it is a
deployment's before it is a model's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from costplus.gateway.endpoint import Endpoint

_DATED = re.compile(r"20\d\d-\d\d-\d\d(-preview)?")
# What has a path below the deployment's; everything else names it in the body.
_OF_DEPLOYMENT = frozenset({"/chat/completions", "/completions", "/embeddings"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployments:
    """The deployments of one Azure resource by the model that each runs, and the API version to call."""

    by_model: Mapping[str, str] = field(default_factory=dict)
    api_version: str = ""

    @property
    def is_dated(self) -> bool:
        """Whether it is called by the older paths, one for each deployment."""
        return _DATED.fullmatch(self.api_version) is not None

    def model_of(self, name: str, *, is_native: bool) -> str:
        """Return the model that a caller's name stands for."""
        if not is_native and name in self.by_model:
            return name
        return next((model for model, own in self.by_model.items() if own == name), name)

    def deployment_of(self, name: str) -> str:
        """Return the deployment that serves a caller's name; one that is no known model is taken as it is."""
        return self.by_model.get(name, name)

    def at(self, endpoint: Endpoint, *, deployment: str) -> Endpoint:
        """Return where a call is made, of what the gateway serves by itself."""
        if not self.api_version:
            return endpoint
        path = endpoint.upstream_path
        if self.is_dated and path in _OF_DEPLOYMENT:
            path = f"/deployments/{quote(deployment, safe='')}{path}"
        return replace(endpoint, upstream_path=path, query=f"api-version={self.api_version}")


NO_DEPLOYMENTS = Deployments()
