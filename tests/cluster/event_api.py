"""An API server that stores Events, and a clock, for tests of the event recorders."""

from webhook.cluster.transport import ApiError


class EventApi:
    """An API server that keeps Events: a name can be taken once, and a version be changed once."""

    def __init__(self, *failures) -> None:
        self.events = {}
        self.failures = list(failures)

    def _fail(self) -> None:
        if self.failures and (failure := self.failures.pop(0)):
            raise failure

    def post(self, path, body) -> bytes:
        self._fail()
        where = f"{path}/{body['metadata']['name']}"
        if where in self.events:
            raise ApiError(409, "HTTP 409: exists")
        self.events[where] = body | {"version": 1}
        return b"{}"

    def get(self, path, _query, _accept) -> bytes:
        self._fail()
        event = self.events[path]
        return b'{"metadata":{"resourceVersion":"%d"},"count":%d}' % (event["version"], event["count"])

    def patch(self, path, body) -> None:
        self._fail()
        event = self.events[path]
        if body["metadata"]["resourceVersion"] != str(event["version"]):
            raise ApiError(409, "HTTP 409: conflict")
        changed = {key: value for key, value in body.items() if key != "metadata"}
        self.events[path] = event | changed | {"version": event["version"] + 1}


class FakeClock:
    now = 1000.0

    def __call__(self):
        return self.now
