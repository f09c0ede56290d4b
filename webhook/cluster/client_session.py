"""Requests as a kubeconfig says, by the official client: client certificates, exec plugins, token files, proxies.

Used of the client: its loaders, its token refresh (a token file is read again every minute) and `ApiClient`. Its
generated API can't ask for metadata alone, because it sets the Accept header by itself, and decodes into models that
cost much more memory than what is kept here; so requests go through `ApiClient.call_api`, which takes headers and
leaves the body alone.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, list_kube_config_contexts, load_incluster_config, load_kube_config

from webhook.cluster.transport import ApiError
from webhook.core.formatting import did_you_mean, listing, quote


class ClientSession:
    """The client, with the configuration and the credentials that it was loaded with."""

    def __init__(self, kubeconfig: Path | None, folder: Path, context: str | None) -> None:
        """Load the configuration; `kubeconfig` is None in a pod. Raises `ApiError` if it can't be used."""
        configuration = Configuration()
        configuration.retries = False  # the caller decides when to ask again
        configuration.keep_alive = True
        try:
            if kubeconfig is None:
                load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            else:
                _check_context(str(kubeconfig), context)
                load_kube_config(  # type: ignore[no-untyped-call]
                    str(kubeconfig),
                    context=context,
                    client_configuration=configuration,
                    persist_config=False,
                    temp_file_path=str(folder),
                )
        except ApiError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a file, a plugin or a provider may raise
            # The text of a kubeconfig's error may quote the user's whole entry, token and all: only its type is shown.
            readable = any(os.access(path, os.R_OK) for path in str(kubeconfig).split(os.pathsep))
            why = type(error).__name__ if readable else "there is no such file, or it can't be read"
            message = f"the kubeconfig {kubeconfig} can't be used ({why})"
            in_cluster = kubeconfig is None and isinstance(error, ConfigException)
            raise ApiError(0, str(error) if in_cluster else message) from None
        self._client = ApiClient(configuration)
        self.host: str = configuration.host

    def token(self) -> str:
        """Return the token that requests carry; empty if they are authenticated in another way."""
        header = self._client.configuration.get_api_key_with_prefix("BearerToken") or ""
        return header.removeprefix("Bearer ")

    def send(  # noqa: PLR0913, PLR0917 - what a request consists of
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: dict[str, Any] | None,
        timeout: tuple[float, float],
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; the answer's body is still to be read. `timeout` is to connect and to read, in seconds."""
        serialized = self._client.param_serialize(
            method, path, query_params=list(query.items()), header_params=dict(headers), body=body,
            auth_settings=["BearerToken"],
        )  # fmt: skip
        try:
            answer = self._client.call_api(*serialized, _request_timeout=timeout)
        except ApiException as error:  # TLS failed
            raise urllib3.exceptions.HTTPError(error.reason) from error
        response: urllib3.BaseHTTPResponse = answer.response
        return response


def _check_context(kubeconfig: str, context: str | None) -> None:
    if context is None:
        return
    found, _ = list_kube_config_contexts(kubeconfig)  # type: ignore[no-untyped-call]
    names = [one["name"] for one in found]
    if context not in names:
        hint = did_you_mean(context, names) or f"; there are {listing(names)}"
        raise ApiError(0, f"the kubeconfig has no context {quote(context)}{hint}")
