"""A gRPC client that knows nothing of sproxy but its address: what it calls, it learns from the reflection service.

Called by tests/it/cluster/reflection.rs: global_stats.py ADDRESS TOKEN. Prints one JSON line: the services that there
are, and what GetGlobalStats answers. Needs grpcio, grpcio-reflection and protobuf from PyPI.
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def main(address, token):
    with grpc.insecure_channel(address) as channel:
        known = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(known)
        services = sorted(known.get_services())
        method = pool.FindServiceByName("sproxy.v1.Stats").FindMethodByName("GetGlobalStats")
        question = message_factory.GetMessageClass(method.input_type)
        answer = message_factory.GetMessageClass(method.output_type)
        call = channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=question.SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            call(question(), timeout=30)
            raise SystemExit("statistics for anybody")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
        stats = call(question(), metadata=[("authorization", f"Bearer {token}")], timeout=30)
        print(json.dumps({"services": services, "stats": json_format.MessageToDict(stats, preserving_proto_field_name=True)}))


main(*sys.argv[1:])
