"""A client of the API that holds every answer against its description."""

import re

import httpx
import jsonschema


class Api:
    """A client with a token. Whatever it is answered must be in the OpenAPI document, in the shape described there."""

    def __init__(self, web: httpx.AsyncClient, document: dict, token: str) -> None:
        self.web = web
        self.document = document
        self.token = token

    @classmethod
    async def open(cls, web: httpx.AsyncClient, token: str) -> "Api":
        """Read the description."""
        return cls(web, (await web.get("/schema/openapi.json")).json(), token)

    async def ask(self, method: str, path: str, **options) -> httpx.Response:
        """Send a request with the token and check the answer."""
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        answer = await self.web.request(method, f"/api/v1{path}", headers=headers, **options)
        self.check(answer)
        return answer

    def check(self, answer: httpx.Response) -> None:
        """Fail where an answer is not documented."""
        path = answer.request.url.path
        documented = self.operation(answer.request)["responses"]
        assert str(answer.status_code) in documented, f"{answer.status_code} of {path} is not documented: {answer.text}"
        content = documented[str(answer.status_code)].get("content")
        if content is None:
            assert answer.content == b""
            return
        media_type = answer.headers["content-type"].partition(";")[0]
        assert media_type in content, f"{media_type} of {path} is not documented"
        if media_type.endswith("json"):
            self.check_shape(answer.json(), content[media_type]["schema"])

    def operation(self, request: httpx.Request) -> dict:
        """Find the description of what a request asks; fail where there is none."""
        path, method = request.url.path, request.method.lower()
        found = [
            item[method]
            for template, item in sorted(self.document["paths"].items(), key=lambda each: each[0].count("{"))
            if matches(template, path) and method in item
        ]
        assert found, f"{method} {path} is not documented"
        return found[0]

    def check_shape(self, value: object, schema: dict) -> None:
        """Fail where a value has not the shape, or a field that nobody described."""
        # Whether the schemas themselves are right is asked once, in tests/api/test_description.py.
        whole = schema | {"components": self.document["components"]}
        jsonschema.Draft202012Validator(whole).validate(value)
        name = schema.get("$ref", "").rpartition("/")[2]
        properties = self.document["components"]["schemas"].get(name, {}).get("properties")
        if properties is not None and isinstance(value, dict):
            assert value.keys() <= properties.keys(), f"{name} has fields that are not documented"
            for key, below in value.items():
                items = properties[key].get("items", {})
                for each in below if isinstance(below, list) and "$ref" in items else ():
                    self.check_shape(each, items)


def matches(template: str, path: str) -> bool:
    """Tell whether a path is one of a template such as `/crons/{cronId}`."""
    return re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path) is not None
