/**
 * The page with the server's engine.
 */

import { askKey, savedKey } from "./api_key.js";
import { start } from "./app.js";
import { HttpEngine } from "./http_engine.js";

start(new HttpEngine({ key: savedKey(), askKey }));
