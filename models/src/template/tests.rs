//! Templates in the manner of well-known families, condensed: each uses what that family's own uses.

use minijinja::Value;
use serde_json::{Value as Json, json};

use super::{ChatTemplate, TemplateError, as_value, refusal};
use crate::tokenizer::Tokenizer;

fn tokenizer() -> Tokenizer {
    let writer = loader::fixture::tiny_model(&loader::fixture::TinyModel::default());
    Tokenizer::from_header(&loader::gguf::parse(&writer.to_bytes()).unwrap()).unwrap()
}

/// What a template makes of values, beside what every template is given.
fn render(source: &str, values: &Json) -> Result<String, TemplateError> {
    render_with_tools(source, values, Value::from(()))
}

fn render_with_tools(source: &str, values: &Json, tools: Value) -> Result<String, TemplateError> {
    let template = ChatTemplate::compile(source, &tokenizer()).unwrap();
    let given = json!({"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true});
    let fields = |json: &Json| json.as_object().unwrap().clone();
    let all = fields(&given).into_iter().chain(fields(values)).map(|(key, field)| (key, as_value(&field)));
    let compiled = template.environment.get_template(super::NAME).unwrap();
    compiled.render(Value::from_pairs(all.chain([("tools".to_owned(), tools)]))).map_err(refusal)
}

/// A list of one tool, whose fields are not in the order of the alphabet.
fn weather() -> Value {
    let ty = |name: &str| ("type", Value::from(name));
    let properties =
        Value::from_pairs([("days", Value::from_pairs([ty("integer")])), ("city", Value::from_pairs([ty("string")]))]);
    let function = Value::from_pairs([
        ("name", Value::from("weather")),
        ("description", Value::from("it's <now> & here")),
        ("parameters", Value::from_pairs([ty("object"), ("properties", properties)])),
    ]);
    Value::from(vec![Value::from_pairs([ty("function"), ("function", function)])])
}

#[test]
fn a_template_in_the_manner_of_llama_3() {
    let source = r##"{{- bos_token }}
{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = "26 Jul 2024" if false else "today" %}{%- else %}{%- set date_string = "never" %}{%- endif %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start|>system<|end|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- "Date: " + date_string + "\n" + system_message + "<|eot|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start|>' + message['role'] + '<|end|>\n\n'+ message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("only one call at once") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}{{- tool_call.arguments | tojson }}{{- "}" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant<|end|>\n\n' }}{%- endif %}
"##;
    let chat = json!([{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hi\n"}]);
    let text = render(source, &json!({"messages": chat})).unwrap();
    assert_eq!(
        text,
        "<s><|start|>system<|end|>\n\nDate: today\nBe brief.<|eot|><|start|>user<|end|>\n\nHi<|eot|>\
         <|start|>assistant<|end|>\n\n"
    );
    let call = json!({"function": {"name": "weather", "arguments": {"city": "Bern", "days": 2}}});
    let calling = json!([{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call]}]);
    let text = render_with_tools(source, &json!({"messages": calling}), weather()).unwrap();
    assert!(text.contains(r#"{"name": "weather", "parameters": {"city": "Bern", "days": 2}}"#), "{text}");
    assert!(
        text.contains("\n        \"name\": \"weather\",\n        \"description\": \"it's <now> & here\","),
        "{text}"
    );
    let twice = json!([{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call, call]}]);
    let refused = render(source, &json!({"messages": twice})).unwrap_err();
    assert!(
        matches!(&refused, TemplateError::Refused { message } if message == "only one call at once"),
        "{refused:?}"
    );
}

#[test]
fn a_template_in_the_manner_of_qwen_3() {
    let source = r##"{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- "# Tools\n<tools>" }}
    {%- for tool in tools %}{{- "\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in message.content %}
                {%- set content = message.content.split('</think>')[-1].lstrip('\n') %}
                {%- set reasoning_content = message.content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>\n' }}{{- message.content }}{{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}"##;
    let chat = json!([
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "<think>\nadd\n</think>\n\n2"},
        {"role": "user", "content": "sure?"},
        {"role": "assistant", "content": "<think>\nyes\n</think>\n\nSure."},
        {"role": "tool", "content": "a"}, {"role": "tool", "content": "b"},
    ]);
    let text = render(source, &json!({"messages": chat, "enable_thinking": false})).unwrap();
    assert_eq!(
        text,
        "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n<|im_start|>user\nsure?<|im_end|>\n\
         <|im_start|>assistant\n<think>\nyes\n</think>\n\nSure.<|im_end|>\n<|im_start|>user\n<tool_response>\na\n\
         </tool_response>\n<tool_response>\nb\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    );
    let text = render_with_tools(source, &json!({"messages": [{"role": "user", "content": "?"}]}), weather()).unwrap();
    let tool = "{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"description\": \"it's <now> & here\", \
                \"parameters\": {\"type\": \"object\", \"properties\": {\"days\": {\"type\": \"integer\"}, \
                \"city\": {\"type\": \"string\"}}}}}";
    assert!(text.contains(tool), "{text}");
}

#[test]
fn a_template_in_the_manner_of_mistral() {
    let source = r##"{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- for message in loop_messages | rejectattr("role", "equalto", "tool") | rejectattr("role", "equalto", "tool_results") | selectattr("tool_calls", "undefined") %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("roles must alternate") }}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "parameters" %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}{%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
"##;
    let chat = json!([
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": " Hello "}, {"role": "user", "content": "Bye"},
    ]);
    let text = render(source, &json!({"messages": chat})).unwrap();
    assert_eq!(text, "<s>[INST] Hi[/INST] Hello</s>[INST] Be brief.\n\nBye[/INST]");
    let text = render_with_tools(source, &json!({"messages": chat}), weather()).unwrap();
    let tool = r#"{"type": "function", "function": {"name": "weather", "description": "it's <now> & here"}}]"#;
    assert!(text.contains(&format!("[AVAILABLE_TOOLS] [{tool}[/AVAILABLE_TOOLS]")), "{text}");
    let twice = json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]);
    let refused = render(source, &json!({"messages": twice})).unwrap_err();
    assert!(matches!(refused, TemplateError::Refused { .. }));
}

#[test]
fn a_template_in_the_manner_of_gemma() {
    let source = r##"{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '

' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
"##;
    let chat = json!([
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hi "},
        {"role": "assistant", "content": "Hello"}, {"role": "user", "content": [{"type": "text", "text": "Bye "}]},
    ]);
    assert_eq!(
        render(source, &json!({"messages": chat})).unwrap(),
        "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n\
         <start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    );
}

#[test]
fn what_else_templates_lean_on() {
    let cases = [
        (
            "{% for n in [1, 2, 3, 4] %}{% if n == 2 %}{% continue %}{% endif %}{% if n == 4 %}{% break %}{% endif %}{{ n }}{% endfor %}",
            "13",
        ),
        (
            "{%- macro call(name, times=2) -%}{{ name * times }}{%- endmacro -%}{{ call('ab') }}{{ call('c', times=3) }}",
            "ababccc",
        ),
        (
            "{{ ' a b '.strip() }}|{{ 'A-b'.lower().replace('-', '+') }}|{{ 'a,b'.split(',')|join('/') }}|{{ 'ab'.upper() }}",
            "a b|a+b|a/b|AB",
        ),
        (
            "{% for k, v in {'z': 1, 'a': [true, none, 1.5]}.items() %}{{ k }}={{ v|tojson }};{% endfor %}",
            "z=1;a=[true, null, 1.5];",
        ),
        ("{{ {'b': 1, 'a': {'c': []}}|tojson(indent=2) }}", "{\n  \"b\": 1,\n  \"a\": {\n    \"c\": []\n  }\n}"),
        ("{{ {'a': 'é<'}|tojson(ensure_ascii=False) }}", "{\"a\": \"é<\"}"),
        (
            "{{ {'a': 1}.get('b', 'no') }}{{ messages is defined }}{{ 'x' if missing else 'y' }}{{ missing }}",
            "noFalsey",
        ),
        ("{% generation %}{{ 1 }}{%- endgeneration -%} .", "1."),
        ("{{ 'abc'[::-1] }}{{ [1, 2, 3][-1] }}{{ 'title case'.title() }}{{ 7 // 2 }}{{ 2 ** 3 }}", "cba3Title Case38"),
        ("{{ strftime_now('%Y')|length }}{{ ['b', 'a']|sort|join }}{{ [1, 2]|length == 2 }}", "4abTrue"),
        (
            "{{ [{'r': 'u', 'c': 1}, {'r': 'a', 'c': 2}]|selectattr('r', 'equalto', 'a')|map(attribute='c')|list }}",
            "[2]",
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(render(source, &json!({})).unwrap(), expected, "{source}");
    }
}
