"""Answers what the runner told it: shows user config and secrets. The input is a key of the user config, answered as
JSON; or secret:NAME, answered as it is; or instance, answered as the instance's number."""
import json

from pulsar import Function


class Settings(Function):
    def process(self, input, context):
        key = str(input)
        if key.startswith("secret:"):
            return str(context.get_secret(key.removeprefix("secret:")))
        if key == "instance":
            return str(context.get_instance_id())
        return json.dumps(context.get_user_config_value(key), sort_keys=True, separators=(",", ":"))
