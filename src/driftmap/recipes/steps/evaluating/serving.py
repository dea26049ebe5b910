"""Which server answers or judges, as the options name it?"""

from driftmap.core.errors import UsageError
from driftmap.load.endpoint import Endpoint, endpoint_url, require_client
from driftmap.recipes.utility_options import EndpointOptions


def server_of(options: EndpointOptions) -> Endpoint:
    """Find the server; it is not asked yet.

    Raises:
        ModelError: The library `openai` is not installed.
        UsageError: No address or no model is named, or the address is none.
    """
    if options.endpoint_model is None:
        raise UsageError(
            "--endpoint-model is missing; give the server's name for its model"
        )
    url = endpoint_url(options.endpoint)
    require_client()
    return Endpoint(
        url=url,
        model=options.endpoint_model,
        timeout=options.endpoint_timeout,
        num_parallel=options.endpoint_parallel,
    )
