"""Validates /openapi.json, and every answer against it. Arguments: address, token, the server's time."""

import http.client
import json
import sys
from urllib.parse import quote, urlencode

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

address, token, _ = sys.argv[1:]
connection = http.client.HTTPConnection(address)


def call(method, path, body=None):
    headers = {"Authorization": f"Bearer {token}"} | ({} if body is None else {"Content-Type": "application/json"})
    connection.request(method.upper(), path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.headers["Content-Type"], answer.read()


status, _, text = call("get", "/openapi.json")
document = json.loads(text)
assert status == 200
OpenAPIV31SpecValidator(document).validate()

# References within the document, from any of its schemas.
resource = Resource.from_contents(document, default_specification=DRAFT202012)
registry = Registry().with_resource("urn:document", resource)


def check(value, pointer):
    """Validates a value against the schema at a JSON pointer."""
    Draft202012Validator({"$ref": f"urn:document#{pointer}"}, registry=registry).validate(value)


def escape(part):
    return part.replace("~", "~0").replace("/", "~1")


calls, ids = 0, set()
for path, operations in document["paths"].items():
    for method, operation in operations.items():
        where = f"{method} {path}"
        ids.add(operation["operationId"])
        for member in ("summary", "description", "tags"):
            assert operation.get(member), f"{where} has no {member}"
        assert "security" in operation, where
        success = next(code for code in operation["responses"] if code.startswith("2"))
        # A stream is a line of JSON for each message.
        kinds = operation["responses"][success]["content"]
        kind = "application/x-ndjson" if "application/x-ndjson" in kinds else "application/json"
        base = f"/paths/{escape(path)}/{method}"
        check(kinds[kind]["example"], f"{base}/responses/{success}/content/{escape(kind)}/schema")
        target, query = path, []
        for at, parameter in enumerate(operation.get("parameters", [])):
            assert parameter["description"], f"{where}: {parameter['name']} has no description"
            if "example" not in parameter:
                continue
            value = parameter["example"]
            check(value, f"{base}/parameters/{at}/schema")
            if parameter["in"] == "path":
                target = target.replace(f"{{{parameter['name']}}}", quote(value, safe=""))
            else:
                query.append((parameter["name"], value))
        body = None
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]["example"]
            check(body, f"{base}/requestBody/content/application~1json/schema")
        answered, content_type, text = call(method, f"{target}?{urlencode(query, doseq=True)}", body)
        documented = str(answered) if str(answered) in operation["responses"] else "default"
        # Two methods of the vendor's are there for their names only.
        assert documented != "default" or answered == 501, f"{where}: {answered} is not documented"
        assert content_type == (kind if documented == success else "application/json"), f"{where}: {content_type}"
        response = operation["responses"][documented]
        pointer = response["$ref"].removeprefix("#") if "$ref" in response else f"{base}/responses/{documented}"
        for part in text.splitlines() if content_type == "application/x-ndjson" else [text]:
            check(json.loads(part), f"{pointer}/content/{escape(content_type)}/schema")
        calls += 1
assert len(ids) == calls >= 13, "operation ids are unique"
for name, response in document["components"]["responses"].items():
    for media in response["content"].values():
        if "example" in media:
            check(media["example"], f"/components/responses/{escape(name)}/content/application~1json/schema")
print(f"/openapi.json is valid, and so are the answers of its {calls} operations")
