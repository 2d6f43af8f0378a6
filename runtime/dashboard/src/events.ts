// Server-sent events, as this server sends them: a line of data each, or a comment.

/** The data of server-sent events, null for a comment. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string | null> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const event = text.slice(0, end);
      text = text.slice(end + 2);
      yield event.startsWith('data: ') ? event.slice('data: '.length) : null;
    }
  }
}
