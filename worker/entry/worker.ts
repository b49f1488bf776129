// What tinypool runs in its Workers. In the executable it looks for it here: beside the program, in `entry`.
import "../../node_modules/tinypool/dist/entry/worker.js";
