// docs/asyncapi.yaml is judged by the parser that others use.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { Parser } from '@asyncapi/parser';

test('docs/asyncapi.yaml is a valid AsyncAPI document', async () => {
  const text = await readFile(new URL('../../docs/asyncapi.yaml', import.meta.url), 'utf8');
  const { document, diagnostics } = await new Parser().parse(text);
  const errors = diagnostics.filter((diagnostic) => diagnostic.severity === 0);
  assert.deepEqual(errors.map((error) => `${error.path.join('.')}: ${error.message}`), []);
  assert.ok(document.messages().all().length > 20);
});
