"""Requests as a kubeconfig configures them, by the official client: client certificates, exec plugins, proxies.

The client's loaders, its token refresh (a token file is read again every minute) and `ApiClient.call_api` are used. Its
generated API cannot request metadata alone, because it sets the Accept header itself, and decodes models that need much
more memory.
"""

import os
from pathlib import Path

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, list_kube_config_contexts, load_incluster_config, load_kube_config

from webhook.cluster.transport import CONNECT_TIMEOUT, ApiError, ApiRequest
from webhook.core.formatting import did_you_mean, listing, quote


class ClientSession:
    """The client, with the configuration and the credentials that it was loaded with."""

    def __init__(self, kubeconfig: Path | None, folder: Path, context: str | None) -> None:
        """Load the configuration; `kubeconfig` is None in a pod. Raises `ApiError`."""
        configuration = Configuration()
        configuration.retries = False  # the caller retries
        configuration.keep_alive = True
        self.context = ""
        try:
            if kubeconfig is None:
                load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            else:
                self.context = _find_context(str(kubeconfig), context)
                load_kube_config(  # type: ignore[no-untyped-call]
                    str(kubeconfig),
                    context=context,
                    client_configuration=configuration,
                    persist_config=False,
                    temp_file_path=str(folder),
                )
        except ApiError:
            raise
        except Exception as error:  # noqa: BLE001 - from a file, a plugin or a provider
            # The message may quote the user's whole entry, token and all: only the type is shown.
            readable = any(os.access(path, os.R_OK) for path in str(kubeconfig).split(os.pathsep))
            reason = type(error).__name__ if readable else "there is no such file, or it cannot be read"
            message = f"cannot use the kubeconfig {kubeconfig} ({reason})"
            in_cluster = kubeconfig is None and isinstance(error, ConfigException)
            raise ApiError(0, str(error) if in_cluster else message) from None
        self._client = ApiClient(configuration)
        self.host: str = configuration.host

    def token(self) -> str:
        """Return the token that requests carry; empty if they are authenticated in another way."""
        header = self._client.configuration.get_api_key_with_prefix("BearerToken") or ""
        return header.removeprefix("Bearer ")

    def send(self, request: ApiRequest) -> urllib3.BaseHTTPResponse:
        """Send a request; the body of the answer is not read yet."""
        serialized = self._client.param_serialize(
            request.method, request.path, query_params=list(request.query.items()),
            header_params=dict(request.headers), body=request.body, auth_settings=["BearerToken"],
        )  # fmt: skip
        try:
            answer = self._client.call_api(*serialized, _request_timeout=(CONNECT_TIMEOUT, request.read_timeout))
        except ApiException as error:  # TLS failed
            raise urllib3.exceptions.HTTPError(error.reason) from error
        response: urllib3.BaseHTTPResponse = answer.response
        return response


def _find_context(kubeconfig: str, context: str | None) -> str:
    """Return the name of the context, the current one for None. Raises `ApiError`."""
    contexts, current = list_kube_config_contexts(kubeconfig)  # type: ignore[no-untyped-call]
    if context is None:
        return str(current["name"])
    names = [found["name"] for found in contexts]
    if context not in names:
        hint = did_you_mean(context, names) or f"; there are {listing(names)}"
        raise ApiError(0, f"the kubeconfig has no context {quote(context)}{hint}")
    return context
