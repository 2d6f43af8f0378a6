//! Templates for models whose files bring none, to be chosen by name: a base model was not trained for any of them, so
//! none is ever chosen by itself.
//!
//! Each writes what the family's own template writes of system, user and assistant messages; what that has of tools is
//! absent.

/// Name and source, in alphabetical order.
const BUILTIN: [(&str, &str); 5] =
    [("chatml", CHATML), ("gemma", GEMMA), ("llama2", LLAMA2), ("llama3", LLAMA3), ("mistral", MISTRAL)];

/// The names of the templates that [`builtin`] knows.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// The source of the template called `name`.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|(known, _)| *known == name).map(|(_, source)| *source)
}

/// Source: OpenAI's ChatML, as Qwen and SmolLM write it.
const CHATML: &str = "{% for message in messages %}\
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// The system message stands before the first of the user's. Source: Gemma's prompt structure (ai.google.dev/gemma).
const GEMMA: &str = "{{ bos_token }}{% set ns = namespace(system='') %}\
{% for message in messages %}\
{% if message.role == 'system' %}\
{% if not loop.first %}{{ raise_exception('the system message must be the first') }}{% endif %}\
{% set ns.system = message.content + '\\n\\n' %}\
{% else %}\
{% set role = 'model' if message.role == 'assistant' else message.role %}\
{% if role not in ['user', 'model'] %}{{ raise_exception('roles are system, user and assistant') }}{% endif %}\
{{ '<start_of_turn>' + role + '\\n' + (ns.system if role == 'user' else '') + message.content.strip() + '<end_of_turn>\\n' }}\
{% if role == 'user' %}{% set ns.system = '' %}{% endif %}\
{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";

/// Source: `llama/generation.py` of meta-llama/llama.
const LLAMA2: &str = "{% set ns = namespace(system='') %}\
{% for message in messages %}\
{% if message.role == 'system' %}\
{% if not loop.first %}{{ raise_exception('the system message must be the first') }}{% endif %}\
{% set ns.system = '<<SYS>>\\n' + message.content + '\\n<</SYS>>\\n\\n' %}\
{% elif message.role == 'user' %}\
{{ bos_token + '[INST] ' + (ns.system + message.content).strip() + ' [/INST]' }}{% set ns.system = '' %}\
{% elif message.role == 'assistant' %}\
{{ ' ' + message.content.strip() + ' ' + eos_token }}\
{% else %}{{ raise_exception('roles are system, user and assistant') }}{% endif %}{% endfor %}";

/// Source: Meta's description of Llama 3's prompt format (`llama3/tokenizer.py` of meta-llama/llama3).
const LLAMA3: &str = "{{ bos_token }}{% for message in messages %}\
{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content.strip() + '<|eot_id|>' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

/// The system message stands before the first of the user's. Source: Mistral's description of its instruct models
/// (mistral-common's version 1).
const MISTRAL: &str = "{{ bos_token }}{% set ns = namespace(system='') %}\
{% for message in messages %}\
{% if message.role == 'system' %}\
{% if not loop.first %}{{ raise_exception('the system message must be the first') }}{% endif %}\
{% set ns.system = message.content + '\\n\\n' %}\
{% elif message.role == 'user' %}\
{{ ' [INST] ' + ns.system + message.content + ' [/INST]' }}{% set ns.system = '' %}\
{% elif message.role == 'assistant' %}\
{{ ' ' + message.content + eos_token }}\
{% else %}{{ raise_exception('roles are system, user and assistant') }}{% endif %}{% endfor %}";

#[cfg(test)]
mod tests {
    use super::super::{ChatTemplate, Extras, Message, TemplateError};
    use super::*;
    use crate::tokenizer::Tokenizer;

    fn tokenizer() -> Tokenizer {
        let writer = loader::fixture::tiny_model(&loader::fixture::TinyModel::default());
        Tokenizer::from_header(&loader::gguf::parse(&writer.to_bytes()).unwrap()).unwrap()
    }

    fn messages(said: &[(&str, &str)]) -> Vec<Message> {
        let message = |&(role, content): &(&str, &str)| Message {
            role: role.into(),
            content: content.into(),
            ..Message::default()
        };
        said.iter().map(message).collect()
    }

    fn render(name: &str, said: &[(&str, &str)]) -> Result<String, TemplateError> {
        let mut template = ChatTemplate::compile(builtin(name).unwrap(), &tokenizer()).unwrap();
        (template.bos, template.eos) = ("<s>".into(), "</s>".into());
        template.render(&messages(said), &Extras::default(), '\u{fdd0}')
    }

    #[test]
    fn each_writes_its_familys_format() {
        let said = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Bye")];
        for (name, expected) in [
            (
                "chatml",
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n\
                 <|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
            ),
            (
                "gemma",
                "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n\
                 <start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
            ),
            ("llama2", "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s><s>[INST] Bye [/INST]"),
            (
                "llama3",
                "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>\
                 <|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
                 <|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>\
                 <|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>\
                 <|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            ("mistral", "<s> [INST] Be brief.\n\nHi [/INST] Hello.</s> [INST] Bye [/INST]"),
        ] {
            assert_eq!(render(name, &said).unwrap(), expected, "{name}");
        }
        assert_eq!(builtin_names().count(), 5, "every one is above");
    }

    #[test]
    fn a_late_system_message_is_refused_where_it_has_no_place() {
        for name in ["gemma", "llama2", "mistral"] {
            let refused = render(name, &[("user", "Hi"), ("system", "Be brief.")]);
            assert!(matches!(refused, Err(TemplateError::Refused { .. })), "{name}: {refused:?}");
        }
    }
}
