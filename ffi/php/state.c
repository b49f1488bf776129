#include "app.h"
void state_booted(void){}
void state_look(const struct app *app){(void)app;}
