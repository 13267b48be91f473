"""A hub on loopback: as much of Hugging Face's HTTP interface as uploading, listing and reading a dataset needs."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REVISION = "0" * 40


class Hub(ThreadingHTTPServer):
    """files: content by path in the repository. commits: paths of each. blobs: uploaded, by SHA-256."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.commits: list[list[str]] = []
        self.created: list[dict[str, Any]] = []
        self.refuse_after: int | None = None
        self.ranges: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Address for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, value: Any = None, status: int = 200, data: bytes | None = None, **headers: str) -> None:
        body = json.dumps(value).encode() if data is None else data
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_POST(self) -> None:
        hub, path, body = self.server, urlsplit(self.path).path, self._body()
        if path == "/api/repos/create":
            hub.created.append(json.loads(body))
            self._answer({"url": f"{hub.url}/datasets/me/pairs"}, 409 if len(hub.created) > 1 else 200)
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".tar") else "regular",
                    "shouldIgnore": False,
                    "oid": self._oid(file["path"]),
                }
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif path.endswith("/objects/batch"):
            objects = []
            for entry in json.loads(body)["objects"]:
                href = {"upload": {"href": f"{hub.url}/blobs/{entry['oid']}"}}
                objects.append({**entry, **({} if entry["oid"] in hub.blobs else {"actions": href})})
            self._answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            lines = [json.loads(line) for line in body.splitlines()]
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    hub.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.files[value["path"]] = hub.blobs[value["oid"]]
            hub.commits.append([line["value"]["path"] for line in lines if line["key"] != "header"])
            self._answer({"commitUrl": f"{hub.url}/datasets/me/pairs/commit/{REVISION}", "commitOid": REVISION})
        elif "/paths-info/" in path:
            asked = parse_qs(body.decode()).get("paths") or json.loads(body)["paths"]
            self._answer([entry for name in asked for entry in self._entries() if entry["path"] == name])
        else:
            self._answer({"error": path}, 404)

    def _oid(self, path: str) -> str | None:
        """What git calls a file that is there: of the content, or of the pointer to it."""
        data = self.server.files.get(path)
        if data is None:
            return None
        if path.endswith(".tar"):
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def do_PUT(self) -> None:
        hub, data = self.server, self._body()
        if hub.refuse_after is not None and len(hub.blobs) >= hub.refuse_after:
            self._answer({"error": "no space left"}, 403)
            return
        hub.blobs[self.path.rpartition("/")[2]] = data
        self._answer({}, ETag=f'"{len(hub.blobs)}"')

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        if "/tree/" in path:
            below = path.split("/tree/", 1)[1].partition("/")[2]
            prefix = f"{below}/" if below else ""
            entries = [e for e in self._entries() if e["path"].startswith(prefix)]
            deep = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
            self._answer([e for e in entries if deep or "/" not in e["path"].removeprefix(prefix)])
        elif "/resolve/" in path:
            data = hub.files.get(path.split("/resolve/", 1)[1].partition("/")[2])
            if data is None:
                self._answer({"error": "not found"}, 404, X_Error_Code="EntryNotFound")
            elif span := self.headers.get("Range"):
                hub.ranges.append(span)
                first, last = span.removeprefix("bytes=").split("-")
                part = data[int(first) : int(last) + 1]
                self._answer(data=part, status=206, Content_Range=f"bytes {first}-{last}/{len(data)}")
            else:
                self._answer(data=data)
        elif path.startswith("/api/datasets/me/pairs"):
            self._answer({"id": "me/pairs", "sha": REVISION, "private": False, "tags": [], "siblings": []})
        else:
            self._answer({"error": path}, 404, X_Error_Code="RepoNotFound")

    def _entries(self) -> list[dict[str, Any]]:
        """All files and folders."""
        files = self.server.files
        folders = sorted({name.rpartition("/")[0] for name in files} - {""})
        found = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in folders]
        return found + [{"type": "file", "path": n, "oid": self._oid(n), "size": len(files[n])} for n in sorted(files)]
