"""The OpenAPI document is true: requests that it describes get the responses that it describes."""

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from shakespeare_gen.serving.guards import Guard
from tests.running_server import running, write_run

KEY = "0123456789abcdef"


def test_the_document_lists_every_field_with_its_limits(server):
    document = server.client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    body = document["paths"]["/v1/completions"]["post"]["requestBody"]["content"]
    schema = body["application/json"]["schema"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["top_p"]["anyOf"][0] == {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
    }
    assert schema["properties"]["temperature"]["default"] == 1.0


def test_events_match_their_schema(server):
    document = server.client.get("/openapi.json").json()
    responses = document["paths"]["/v1/completions"]["post"]["responses"]
    event_schema = responses["200"]["content"]["text/event-stream"]["schema"]
    done, data = event_schema["properties"]["data"]["anyOf"]
    assert done["enum"] == ["[DONE]"]
    schema = data["contentSchema"]["anyOf"][0]
    for event in server.events(
        prompt="T", n=2, echo=True, logprobs=2, stream_options={"include_usage": True}
    ):
        jsonschema.validate(event, schema)


def test_a_key_is_part_of_the_document(tmp_path):
    run = write_run(tmp_path / "run")
    with running(run.path, guard=Guard(key=KEY)) as server:
        headers = {"Authorization": f"Bearer {KEY}"}
        document = server.client.get("/openapi.json", headers=headers).json()
        for path, methods in document["paths"].items():
            for operation in methods.values():
                assert ("401" in operation["responses"]) == (path != "/health")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_response_is_described(server, mode):
    """Valid and invalid requests: no error of the server, no undocumented status or shape.

    A request that follows the schema may be refused: its text may have unknown characters.
    """
    import schemathesis  # takes a second

    rejected = {"expected-statuses": [400, 404, 413]}
    config = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": rejected}})
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=config)
    for operation in (result.ok() for result in schema.get_all_operations()):
        if mode == "negative" and not operation.body:
            continue
        strategy = operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=strategy)
        def check(case):
            case.call_and_validate(excluded_checks=[schemathesis.checks.positive_data_acceptance])

        check()
