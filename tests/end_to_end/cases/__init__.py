"""Everything that tokenguard does, subject by subject.

A test that runs the cases imports all of them and has a fixture `cluster` in which tokenguard is installed with the
policy of `tests.end_to_end.cluster`.
"""

from tests.end_to_end.cases.by_hand import *  # noqa: F403 - every case is a test of the module that imports it
from tests.end_to_end.cases.debugging import *  # noqa: F403
from tests.end_to_end.cases.door import *  # noqa: F403
from tests.end_to_end.cases.evasion import *  # noqa: F403
from tests.end_to_end.cases.pods import *  # noqa: F403
from tests.end_to_end.cases.secrets import *  # noqa: F403
from tests.end_to_end.cases.service_accounts import *  # noqa: F403
from tests.end_to_end.cases.tokens import *  # noqa: F403
from tests.end_to_end.cases.workloads import *  # noqa: F403
