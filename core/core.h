// The engine in one include: tensors, the tape, random numbers, errors, and every op.
#ifndef TAPESTRY_CORE_CORE_H_
#define TAPESTRY_CORE_CORE_H_

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/conv.h"
#include "core/ops/index.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/normalize.h"
#include "core/ops/pad.h"
#include "core/ops/pool.h"
#include "core/ops/recurrent.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "core/ops/unary.h"
#include "core/parallel.h"
#include "core/random.h"
#include "core/shape.h"
#include "core/tape.h"
#include "core/tensor.h"

#endif  // TAPESTRY_CORE_CORE_H_
