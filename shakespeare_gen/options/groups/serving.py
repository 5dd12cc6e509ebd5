"""The options of the server."""

import ipaddress

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options.fields import OptionGroup, option


class ServeOptions(OptionGroup):
    """Where the server listens, and whom it answers."""

    TITLE = "Server"

    host: str = option(
        "127.0.0.1", "address to listen on; one that others reach needs api_key_path"
    )
    port: int = option(8000, "port to listen on; 0: any free one", minimum=0, maximum=65535)
    api_key_path: str = option(
        "", "file with a key of 16 to 512 characters, which requests must send as a bearer token"
    )
    allowed_hosts: tuple[str, ...] = option(
        (), "name by which clients reach the server, besides localhost and IP addresses; repeatable"
    )
    allowed_origins: tuple[str, ...] = option(
        (), "origin, such as https://example.org, whose pages may use the API (CORS); repeatable"
    )
    log_prompts: bool = option(False, "write the prompts of requests to the log")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check_combinations(self) -> None:
        if not self.is_local and not self.api_key_path:
            raise UsageError(
                f"host={self.host}: expected `api_key_path` with an address that other machines "
                "reach, received none"
            )


class ServedModelsOptions(OptionGroup):
    """Which models are in memory, and for how long one may write."""

    TITLE = "Served models"

    # Each model compiles six programs, of which `generation.programs` keeps a limited number.
    max_models: int = option(
        4,
        "models in memory; the one that was not used for longest makes room",
        minimum=1,
        maximum=8,
    )
    follow: bool = option(
        False, "serve the last checkpoint of a run in training, and newer ones as they are saved"
    )
    precision: str = option(
        "float32",
        "data type of the products of texts that are written together; with bfloat16, where the "
        "processor has it, more characters/s, and a text depends on whether others are written",
        choices=("float32", "bfloat16"),
    )
    max_request_seconds: float = option(
        120.0, "time after which a text ends as if it had reached max_tokens", above=0, maximum=3600
    )
    prompt_cache_megabytes: float = option(
        64.0, "memory for the states of prompts that were read", minimum=0, maximum=65536
    )
