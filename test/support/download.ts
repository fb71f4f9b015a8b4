// A process of its own that fetches a model: `tsx download.ts <id>`. Prints the folder.

import { resolveModelFiles } from "../../lib/hub/hub.js";

const { folder } = await resolveModelFiles(process.argv[2] ?? "", { patterns: ["**"] });
console.log(folder);
