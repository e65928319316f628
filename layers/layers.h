// All layers, losses and initializers in one include.
#ifndef TAPESTRY_LAYERS_LAYERS_H_
#define TAPESTRY_LAYERS_LAYERS_H_

#include "layers/activation.h"
#include "layers/conditional_norm.h"
#include "layers/conv.h"
#include "layers/init.h"
#include "layers/linear.h"
#include "layers/loss.h"
#include "layers/module.h"
#include "layers/norm.h"
#include "layers/reparameterize.h"
#include "layers/rnn.h"
#include "layers/sequential.h"

#endif  // TAPESTRY_LAYERS_LAYERS_H_
