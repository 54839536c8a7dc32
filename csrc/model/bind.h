/*
 * bind.h: from the tensors of a container to the parts of a model.
 */
#ifndef WF_BIND_H
#define WF_BIND_H

#include "model/container.h"
#include "model/model.h"
#include "model/random_weights.h"

/* Finds every tensor that the model's configuration calls for and refuses all others. With `random` each is filled when it is found, in a
 * mapping that can be written; NULL: they are the file's. Returns 0, or -1 with the container's error written and whatever was found
 * left in the model. */
int wf_bind(wf_container *container, wf_random_weights *random, wf_model *model);

#endif
