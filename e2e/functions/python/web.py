"""Not a function: the web server of a scenario. It keeps the body of each POST for GET /received, as a list in JSON, and
gives the files that lie beside it under their names."""
import http.server
import json
import pathlib
import threading

HERE = pathlib.Path(__file__).parent
received = []
lock = threading.Lock()


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # which keeps connections

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with lock:
            received.append(body)
        self.answer(204, b"")

    def do_GET(self):
        name = self.path.partition("?")[0].rpartition("/")[2]
        if name == "received":
            with lock:
                body = json.dumps(received).encode()
            self.answer(200, body)
        elif (HERE / name).is_file():
            self.answer(200, (HERE / name).read_bytes())
        else:
            self.answer(404, b"no such file")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_):
        pass


http.server.ThreadingHTTPServer(("", 8080), Web).serve_forever()
