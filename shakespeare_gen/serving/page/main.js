/**
 * The page with the server's engine.
 */

import { start } from "./app.js";
import { HttpEngine } from "./http_engine.js";

start(new HttpEngine());
