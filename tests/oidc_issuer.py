"""An OpenID Connect issuer on this machine, which gives tokens to whoever asks."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class _Issuer(BaseHTTPRequestHandler):
    """Discovery, keys, and tokens: for client credentials, and for browsers, which it sends right back."""

    def do_GET(self):
        if self.path == "/.well-known/openid-configuration":
            here = self.server.url
            self._send({"issuer": here, "jwks_uri": f"{here}/keys", "scopes_supported": ["openid"],
                        "token_endpoint": f"{here}/token",
                        "authorization_endpoint": f"{here}/authorize"})  # fmt: skip
        elif self.path.startswith("/authorize?"):
            asked = {name: given[0] for name, given in parse_qs(urlsplit(self.path).query).items()}
            answer = urlencode({"code": "one", "state": asked["state"]})
            self.send_response(302)
            self.send_header("Location", f"{asked['redirect_uri']}?{answer}")
            self.end_headers()
        elif self.path == "/keys":
            self.server.asked += 1
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
            self._send({"keys": [public | {"kid": "one", "alg": "RS256", "use": "sig"}]})

    def do_POST(self):
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        given = {"access_token": self.server.token(), "token_type": "Bearer", "expires_in": 3600}
        if asked.get("code_verifier"):
            given["id_token"] = self.server.token(aud=asked["client_id"][0], iat=int(time.time()))
        self._send(given)

    def _send(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextmanager
def issuing():
    """Run an issuer while the block lasts; it has `url`, `token(...)` and what was `asked` of it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Issuer) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.asked = 0

        def token(key=KEY, kid="one", **changes):
            claims = {"iss": server.url, "sub": "service", "exp": int(time.time()) + 3600,
                      "azp": "robot", "aud": "account", "name": "Robot"} | changes  # fmt: skip
            claims = {name: value for name, value in claims.items() if value is not None}
            return jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid})

        server.token = token
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
