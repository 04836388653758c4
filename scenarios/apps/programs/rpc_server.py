"""A gRPC server with one method, which says hello."""

import concurrent.futures

import grpc

handler = grpc.method_handlers_generic_handler(
    "lab.Greeter",
    {"Hello": grpc.unary_unary_rpc_method_handler(lambda request, context: b"hello " + request)},
)
server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[handler])
server.add_insecure_port("0.0.0.0:50051")
server.start()
print("listening", flush=True)
server.wait_for_termination()
