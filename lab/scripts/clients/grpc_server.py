"""gRPC: a server whose calls are served by the threads of an executor."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

from jobs import ROWS, save
from lab.scripts.common import say


def serve(request: bytes, context: grpc.ServicerContext) -> bytes:
    save()
    return b""


method = grpc.unary_unary_rpc_method_handler(serve)
handler = grpc.method_handlers_generic_handler("Items", {"Save": method})
with ThreadPoolExecutor(4) as pool:
    server = grpc.server(pool, handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/Items/Save")
        for response in [call.future(b"") for _ in range(ROWS)]:
            response.result()
        say(alive=threading.active_count() - 1)
    server.stop(grace=None).wait()
say(alive=0)
