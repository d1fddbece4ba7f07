"""Answers with what the runner passed: tests user config and secrets. The input is a key of the user config, answered as
JSON; or secret:NAME, answered as it is; or instance, answered as the instance's number; or names, answered as tenant,
namespace and name of the function."""
import json

from pulsar import Function


class Settings(Function):
    def process(self, input, context):
        key = str(input)
        if key.startswith("secret:"):
            return str(context.get_secret(key.removeprefix("secret:")))
        if key == "instance":
            return str(context.get_instance_id())
        if key == "names":
            names = [context.get_function_tenant(), context.get_function_namespace(), context.get_function_name()]
            return "/".join(names)
        return json.dumps(context.get_user_config_value(key), sort_keys=True, separators=(",", ":"))
