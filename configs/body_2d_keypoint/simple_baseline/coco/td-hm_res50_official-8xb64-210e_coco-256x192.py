# For SimpleBaseline's original weights: input, decoding and evaluation are
# theirs, the training is MMPose's.
_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py',
    '../../../_base_/lpn_imports.py',
]

# codec settings: the plain maximum and the original's quarter offset
codec = dict(type='BetaSoftArgmaxHeatmap', beta=None)

# model settings
model = dict(
    # trained on BGR, with the mean and std in RGB order
    data_preprocessor=dict(bgr_to_rgb=False),
    head=dict(decoder=codec),
)

# pipelines: images without their EXIF orientation
val_pipeline = [
    dict(type='LoadImage', color_type='color_ignore_orientation'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=_base_.codec.input_size),
    dict(type='PackPoseInputs'),
]

# data loaders
val_dataloader = dict(dataset=dict(type='OriginalCocoDataset', pipeline=val_pipeline))
test_dataloader = val_dataloader

# evaluators
val_evaluator = dict(type='OriginalCocoMetric')
test_evaluator = val_evaluator
