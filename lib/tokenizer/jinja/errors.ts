// What can go wrong in a template, with the names that Jinja and Python have for it.

export class TemplateError extends Error {
  override readonly name: string = "TemplateError";
}

export class TemplateSyntaxError extends TemplateError {
  override readonly name = "TemplateSyntaxError";

  constructor(message: string, line: number) {
    super(`${message} (line ${line})`);
  }
}

export class UndefinedError extends TemplateError {
  override readonly name = "UndefinedError";
}

/** Python's TypeError, ValueError and the like. */
export class TemplateTypeError extends TemplateError {
  override readonly name = "TypeError";
}

/** What the sandbox of transformers forbids. */
export class SecurityError extends TemplateError {
  override readonly name = "SecurityError";
}

/** raise_exception(): the template's own word on a conversation. */
export class RaisedByTemplate extends TemplateError {
  override readonly name = "raise_exception";
}
