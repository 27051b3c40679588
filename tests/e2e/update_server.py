"""Keeps names, as update services do: dyndns2 and the Cloudflare API over HTTPS, with all their moods.

update_server.py FOLDER PORT [ADDRESS]: FOLDER holds cert.pem with its key; each request becomes a line of
FOLDER/requests. ADDRESS is where it listens, of IPv4 or IPv6; without it everywhere on IPv4.
"""

import base64
import http.server
import json
import socket
import ssl
import sys
import threading
import time
import urllib.parse

FOLDER, PORT = sys.argv[1], int(sys.argv[2])
ADDRESS = sys.argv[3] if len(sys.argv) > 3 else "0.0.0.0"
LOCK = threading.Lock()
RECORDS = {"kept.example.org": "192.0.2.1"}
BASIC = "Basic " + base64.b64encode(b"user:hunter2").decode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, status=200, **fields):
        octets = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def heard(self, body=""):
        line = {"method": self.command, "path": self.path, "body": body, "agent": self.headers.get("User-Agent"),
                "authorization": self.headers.get("Authorization"), "from": self.client_address[0]}
        with LOCK, open(FOLDER + "/requests", "a") as log:
            log.write(json.dumps(line) + "\n")

    def do_GET(self):
        self.heard()
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/ip":
            return self.answer("<html>You are " + self.client_address[0] + "</html>")
        if url.path == "/nic/update":
            return self.update(query["hostname"], query["myip"])
        if url.path == "/client/v4/zones":
            return self.api([{"id": "z1"}] if query["name"] == "example.org" else [])
        if url.path == "/client/v4/zones/z1/dns_records":
            has = RECORDS.get(query["name"])
            is_asked = has and (":" in has) == (query["type"] == "AAAA")
            return self.api([{"id": query["name"].replace(".", "x"), "content": has}] if is_asked else [])
        self.answer("what?", 404)

    def change(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.heard(body)
        record = json.loads(body)
        name = record.get("name") or self.path.rsplit("/", 1)[1].replace("x", ".", 99)
        # "example" has an x of its own.
        name = name.replace("e.ample", "example")
        with LOCK:
            RECORDS[name] = record["content"]
        self.api({"id": "r1", "content": record["content"]})

    do_POST = do_PATCH = change

    def api(self, result):
        if self.headers.get("Authorization") != "Bearer t0ken":
            errors = [{"code": 10000, "message": "Authentication error"}]
            return self.answer(json.dumps({"success": False, "errors": errors, "result": None}), 403)
        self.answer(json.dumps({"success": True, "errors": [], "result": result}), Content_Type="application/json")

    def update(self, name, address):
        mood = name.split(".")[0]
        if mood == "badauth" or self.headers.get("Authorization") != BASIC:
            return self.answer("badauth", 401)
        if mood == "hang":
            time.sleep(3600)
        if mood == "redirect":
            return self.answer("", 302, Location="https://%s/stolen" % self.headers["Host"])
        if mood == "slow-down":
            return self.answer("", 429, Retry_After="7200")
        if mood == "garbage":
            return self.answer(bytes(range(256)) * 400)
        if mood == "flood":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"nonsense " * 4096)
        answers = {"good": "good " + address, "nochg": "nochg " + address, "abuse": "abuse", "down": "911"}
        self.answer(answers[mood] + "\r\n")

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in ADDRESS else socket.AF_INET


server = Server((ADDRESS, PORT), Handler)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(FOLDER + "/cert.pem", FOLDER + "/cert.pem")
# In the handler's thread, so that nobody waits for another's handshake.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
