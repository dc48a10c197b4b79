"""What is sent to `serve`."""
import json

from attacks.attack import in_group


def post(body, path="/v1/completions", head=""):
    """A request that is right but for its body."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{head}"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def head(lines, body=b""):
    """A request with these header lines."""
    return ("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n" + "".join(l + "\r\n" for l in lines) + "\r\n").encode() + body


def get(path, *lines, method="GET", host="localhost"):
    return (f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n" + "".join(l + "\r\n" for l in lines) + "\r\n").encode()


def attacks():
    of = lambda slug, lie, rule, code, says, request: in_group("HTTP requests")(
        slug, lie, rule, code, says, lambda: request, ending=".http", server=("--max-body", "64", "--read-timeout", "0.5"))
    framing, body = "64 KiB and 10 seconds for request line and headers", "one length, told one way"
    long = "cannot be read: they are malformed, too long"
    yield of("http-long-header", "a header of 70 000 bytes", framing, "400", long, get("/", "X: " + "a" * 70_000))
    yield of("http-many-headers", "20 000 headers", framing, "400", long, get("/", *["X: a"] * 20_000))
    yield of("http-no-http", "the beginning of TLS, and silence", framing, "closed", "", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100))
    yield of("http-body-long", "a Content-Length of 1 MB", "`--max-body`", "413 invalid_body", "The body has 1000000 bytes", head(["Content-Length: 1000000"], b"{"))
    yield of("http-chunks-long", "chunks of 96 KiB together", "`--max-body`", "413 invalid_body", "The body is longer than",
             head(["Transfer-Encoding: chunked"], (b"4000\r\n" + b" " * 0x4000 + b"\r\n") * 6 + b"0\r\n\r\n"))
    yield of("http-length-text", "a Content-Length that is no number", body, "400 invalid_body", "Content-Length is not a number", head(["Content-Length: -1"], b"{"))
    yield of("http-two-lengths", "two Content-Lengths", body, "400 invalid_body", "more than one Content-Length", head(["Content-Length: 2", "Content-Length: 20"], b"{}"))
    yield of("http-length-and-chunks", "a Content-Length, and chunks", body, "400 invalid_body", "in a way that this server does not take",
             head(["Content-Length: 2", "Transfer-Encoding: chunked"], b"2\r\n{}\r\n0\r\n\r\n"))
    yield of("http-length-spaced", "a space before the colon of Content-Length", body, "411 invalid_body", "no Content-Length", head(["Content-Length : 2"], b"{}"))
    yield of("http-chunk-huge", "a chunk of 2^64 - 1 bytes", body, "400 invalid_body", "ends before its announced length",
             head(["Transfer-Encoding: chunked"], b"ffffffffffffffff\r\n{}\r\n0\r\n\r\n"))
    yield of("http-chunk-no-number", "a chunk of zz bytes", body, "400 invalid_body", "ends before its announced length",
             head(["Transfer-Encoding: chunked"], b"zz\r\n{}\r\n0\r\n\r\n"))
    yield of("http-slow-body", "one byte of ten, and silence", "`--read-timeout`", "400 invalid_body", "The body came too slowly", head(["Content-Length: 10"], b"{"))
    yield of("http-gzip", "a body that should be compressed", "plain bodies", "400 invalid_body", "what Content-Encoding says", head(["Content-Encoding: gzip", "Content-Length: 2"], b"{}"))
    yield of("http-multipart", "a form", "JSON only", "415 invalid_body", "has to be JSON", head(["Content-Type: multipart/form-data; boundary=x", "Content-Length: 2"], b"{}"))
    yield of("http-ranges", "2000 ranges of the page", "one range", "416 range", "More than one range", get("/", "Range: bytes=" + ",".join(["0-"] * 2000)))
    yield of("http-host", "a name that is not ours (DNS rebinding)", "`--allow-host`", "403 forbidden", "names a host", get("/v1/models", host="evil.example"))
    yield of("http-origin", "a page from elsewhere", "`--cors`", "403 forbidden", "Pages of other origins", get("/v1/models", "Origin: http://evil.example"))
    yield of("http-path", "/../../etc/passwd", "paths by name, no files", "404 not_found", "nothing at this path", get("/../../../etc/passwd"))
    yield of("http-method", "TRACE", "methods by path", "405 method_not_allowed", "This path takes GET", get("/", method="TRACE"))
    document = "JSON, 16 levels deep, names unique, 256 in an object"
    yield of("http-deep", "10 000 lists in each other", document, "400 too_deep", "nested 10001 deep", post(b'{"prompt":' + b"[" * 10_000))
    yield of("http-duplicate", "two prompts", document, "400 invalid_json", "is there twice", post(b'{"prompt":"a","prompt":"b"}'))
    yield of("http-fields", "300 fields", document, "400 invalid_json", "more than 256 fields", post({f"k{i}": 1 for i in range(300)}))
    yield of("http-nul", "a NUL, and JSON behind it", document, "400 invalid_json", "holds a NUL byte", post(b'{"prompt":"a"}\0{}'))
    yield of("http-not-utf8", "a byte that no UTF-8 has", document, "400 invalid_json", "ill-formed UTF-8", post(b'{"prompt":"\xff"}'))
    yield of("http-nan", "NaN", document, "400 invalid_json", "invalid literal", post(b'{"temperature":NaN}'))
    yield of("http-infinite", "1e999", document, "400 invalid_json", "number overflow", post(b'{"prompt":"a","temperature":1e999}'))
    yield of("http-list", "a list for the body", document, "400 invalid_json", "has to be a JSON object", post([]))
    yield of("http-unknown-field", "a field that is not known", "unknown fields are refused", "400 unknown_field", '"exec\\" is not known'.replace('\\', ''), post({"prompt": "a", "exec": "x"}))
    yield of("http-many-answers", "n of 10^9", "ranges of every field", "400 invalid_value", "'n' has to be", post({"prompt": "a", "n": 10**9}))
    yield of("http-many-tokens", "max_tokens of 10^18", "`--max-context`", "400 context_length_exceeded", "takes at most 4096 together", post({"prompt": "a", "max_tokens": 10**18}))
    yield of("http-many-stops", "1000 stop strings", "at most 16", "400 invalid_value", "'stop' has to be", post({"prompt": "a", "stop": ["x"] * 1000}))
    yield of("http-token-beyond", "a token id of 2^31", "ids of the vocabulary", "400 invalid_value", "has ids below", post({"prompt": [2**31]}))
    yield of("http-token-negative", "a token id of -1", "ids of the vocabulary", "400 invalid_value", "'prompt[0]' has to be", post({"prompt": [-1]}))
