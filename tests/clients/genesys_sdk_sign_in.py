"""Signs in with Genesys' own SDK by client credentials. Arguments: address, operator's token, time."""

import json
import sys
import urllib.request

import PureCloudPlatformClientV2 as genesys
from PureCloudPlatformClientV2.gateway_configuration import GatewayConfiguration
from PureCloudPlatformClientV2.rest import ApiException

address, token, _ = sys.argv[1:]
host, port = address.split(":")


def call(path, bearer, body=None):
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    if data is None:
        del headers["Content-Type"]
    request = urllib.request.Request(f"http://{address}{path}", data, headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


client = {"clientId": "genesys-agent", "permissions": ["catalog:view"]}
created = call("/v1/access/clients", token, client)
genesys.configuration.gateway_configuration = GatewayConfiguration(host=host, protocol="http", port=int(port))
api = genesys.api_client.ApiClient()
api.gateway_configuration = genesys.configuration.gateway_configuration
api.get_client_credentials_token("genesys-agent", created["secret"])
assert len(call("/v1/catalog/products", api.access_token)["products"]) == 3
try:
    api.get_client_credentials_token("genesys-agent", "wrong")
except ApiException as error:
    assert error.status == 401, error
    assert json.loads(error.body)["error"] == "invalid_client", error.body
else:
    raise AssertionError("should have been refused")
print("Genesys' SDK signs in by client credentials")
