"""Requests as a kubeconfig configures them, by the official client: client certificates, exec plugins, proxies.

The client's loaders, its token refresh (a token file is read again every minute) and `ApiClient.call_api` are used. Its
generated API cannot request metadata alone, because it sets the Accept header itself, and decodes models that need much
more memory.
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_incluster_config
from kubernetes.config.exec_provider import ExecProvider
from kubernetes.config.kube_config import FileOrData, KubeConfigLoader, KubeConfigMerger

from webhook.cluster.kubeconfig import find_context
from webhook.cluster.transport import CONNECT_TIMEOUT, ApiError, ApiRequest
from webhook.core.formatting import failure_text, quote

_MAX_MESSAGE_LENGTH = 300


class ClientSession:
    """The client, with the configuration and the credentials that it was loaded with."""

    def __init__(self, kubeconfig: Path | None, folder: Path, context: str | None) -> None:
        """Load the configuration; `kubeconfig` is None in a pod. Raises `ApiError`."""
        configuration = Configuration()
        configuration.retries = False  # the caller retries
        configuration.keep_alive = True
        self.context = "" if kubeconfig is None else find_context(kubeconfig, context)
        try:
            if kubeconfig is None:
                load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            else:
                config = KubeConfigMerger(str(kubeconfig)).config  # type: ignore[no-untyped-call]
                loader = _Loader(config, active_context=self.context, config_base_path=None, temp_file_path=str(folder))  # type: ignore[no-untyped-call]
                loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
            if "://" not in configuration.host:  # as kubectl does
                configuration.host = f"http://{configuration.host}"
            self._client = ApiClient(configuration)
        except ApiError:
            raise
        except Exception as error:  # noqa: BLE001 - from a file, a plugin or a provider
            # The message may quote the user's whole entry, token and all.
            message = f"{kubeconfig}: context {self.context} cannot be used; does kubectl accept it?"
            in_cluster = kubeconfig is None and isinstance(error, ConfigException)
            raise ApiError(0, str(error) if in_cluster else message) from None
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
            raise error.__context__ or urllib3.exceptions.HTTPError(error.reason) from error
        response: urllib3.BaseHTTPResponse = answer.response
        return response


class _Loader(KubeConfigLoader):
    """The client's loader, except that a token file or a credential plugin without a token is an error, as in kubectl.

    The client would go on without credentials, and never read them again. A file may be empty while it is written.
    """

    def _load_user_token(self) -> bool:
        """Use the user's token, if it has one."""
        user: Any = self._user
        if super()._load_user_token():  # type: ignore[no-untyped-call]
            return True
        if "tokenFile" in user:
            raise ApiError(0, f"read empty token from file {quote(str(user['tokenFile']))}")
        return False

    def _load_from_exec_plugin(self) -> bool:
        """Run the plugin, if the user has one, and use the token or certificate that it prints."""
        user: Any = self._user
        cluster: Any = self._cluster
        if "exec" not in user:
            return False
        folder = self._get_base_path(cluster.path)  # type: ignore[no-untyped-call]
        try:
            status: Any = ExecProvider(user["exec"], folder, cluster).run()  # type: ignore[no-untyped-call]
        except (ConfigException, OSError) as error:
            reason = failure_text(error) if isinstance(error, OSError) else " ".join(str(error).split())
            failed = f"exec: executable {user['exec']['command']} failed with exit code"
            reason = reason.replace("exec: process returned", failed)
            raise ApiError(0, f"getting credentials: {reason[:_MAX_MESSAGE_LENGTH]}") from None
        if "token" in status:
            self.token = f"Bearer {status['token']}"
        elif "clientCertificateData" in status and "clientKeyData" in status:
            self.cert_file = self._write_file(status, "clientCertificateData")
            self.key_file = self._write_file(status, "clientKeyData")
        else:
            raise ApiError(0, "getting credentials: exec: plugin output has neither a token nor a certificate and key")
        if "expirationTimestamp" in status:
            self.expiry = dt.datetime.fromisoformat(status["expirationTimestamp"])
        return True

    def _write_file(self, status: Mapping[str, Any], key: str) -> str:
        """Write a text that a plugin has printed to a private file, and return its path."""
        content: Any = FileOrData(  # type: ignore[no-untyped-call]
            status, None, key, base64_file_content=False, temp_file_path=self._temp_file_path
        )
        return str(content.as_file())
