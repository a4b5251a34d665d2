// The API's description, drawn from /openapi.json without a library from anywhere.

import { element } from "./server.js";

const described = await (await fetch("/openapi.json")).json();

function typeText(schema) {
  if (!schema) return "";
  if (schema.$ref) return typeText(described.components.schemas[schema.$ref.split("/").at(-1)]);
  if (schema.anyOf) return schema.anyOf.map(typeText).join(" or ");
  if (schema.type === "array") return `[${typeText(schema.items)}, ...]`;
  if (schema.properties) {
    return `{${Object.entries(schema.properties).map(([name, one]) => `"${name}": ${typeText(one)}`).join(", ")}}`;
  }
  return schema.format === "binary" ? "file" : schema.contentEncoding ?? schema.type ?? "any";
}

function table(head, rows) {
  const names = element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)));
  const cells = (row) => element("tr", {}, ...row.map((text) => element("td", {}, text)));
  return element("div", { class: "scroll", tabindex: "0" }, element("table", {}, names, ...rows.map(cells)));
}

const parts = [];
for (const [path, methods] of Object.entries(described.paths)) {
  for (const [method, call] of Object.entries(methods)) {
    parts.push(element("h2", {}, element("code", {}, `${method.toUpperCase()} ${path}`)));
    parts.push(element("p", {}, call.description ?? call.summary ?? ""));
    const content = Object.entries(call.requestBody?.content ?? {});
    if (content.length) {
      parts.push(element("p", { class: "soft" }, `Takes ${content.map(([kind]) => kind).join(", ")}.`));
      const fields = Object.entries(content[0][1].schema.properties ?? {});
      parts.push(table(["field", "type", "meaning"], fields.map(([name, one]) => [name, typeText(one), one.description ?? ""])));
    }
    if (call.parameters?.length) {
      parts.push(table(["parameter", "in", "type"], call.parameters.map((one) => [one.name, one.in, typeText(one.schema)])));
    }
    const schema = call.responses["200"]?.content?.["application/json"]?.schema;
    if (schema) parts.push(element("h3", {}, "Answer"), element("pre", {}, typeText(schema)));
  }
}
document.querySelector("#content").replaceChildren(...parts);
