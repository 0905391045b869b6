"""ask_by_openai.py URL TOKEN: what OpenAI's own client makes of the API, as JSON.

Runs in the environment of opencompass, which holds that client.
"""

import json
import sys

import httpx
import openai

url, token = sys.argv[1:]
direct = httpx.Client(trust_env=False)
options = {"base_url": f"{url}/v1", "max_retries": 0, "http_client": direct}
client = openai.OpenAI(api_key=token, **options)
question = [{"role": "user", "content": "第5号城市叫什么？"}]
(model,) = client.models.list().data
asked = {"model": model.id, "messages": question, "max_tokens": 8, "temperature": 0.0}
whole = client.chat.completions.create(**asked, n=1, seed=1, presence_penalty=0.0)
stream = client.chat.completions.create(
    **asked, stream=True, stream_options={"include_usage": True}
)
chunks = list(stream)
errors = []
for key, changes in ((token, {"model": "other"}), (token, {"n": 2}), ("wrong", {})):
    try:
        openai.OpenAI(api_key=key, **options).chat.completions.create(**asked | changes)
    except openai.APIStatusError as error:
        errors.append([type(error).__name__, error.body["message"]])
result = {
    "model": model.id,
    "text": whole.choices[0].message.content,
    "finish": whole.choices[0].finish_reason,
    "tokens": whole.usage.completion_tokens,
    "streamed": "".join(one.choices[0].delta.content or "" for one in chunks if one.choices),
    "usage": chunks[-1].usage == whole.usage,
    "errors": errors,
}
print(json.dumps(result))
